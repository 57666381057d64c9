"""Protocols of the stores that events and the directory are read from, with their arguments and results."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.path import Path
from functions.graphql.query.people import Question
from functions.graphql.query.selection import Selection
from functions.graphql.query.sessions import Sessions


class EventPosition(msgspec.Struct, frozen=True):
    """Position of an event in the list of all events, sorted by time, then by id."""

    timestamp: datetime
    id: UUID


class PageWindow(msgspec.Struct, frozen=True):
    """Which of the selected events a page holds, newest first.

    Attributes:
        limit: maximum number of events.
        beyond: takes the events after this position; before it if `backwards`.
        backwards: takes the last events instead of the first.
    """

    limit: int
    beyond: EventPosition | None = None
    backwards: bool = False


class RequestedFields(msgspec.Struct, frozen=True):
    """What a query needs of each event, beside the columns that are always read.

    Attributes:
        usernames: the user's name.
        payload: the whole payload.
        keys: keys of the payload whose values are strings, numbers or booleans; another value may be read as null.
        paths: paths into the payload.
    """

    usernames: bool = False
    payload: bool = False
    keys: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()


type EventRow = tuple[Any, ...]
"""A stored event, in these columns.

0. id, a UUID
1. timestamp, in UTC
2. id of the event type
3. id of the user
4. traversal path of the namespace; None without one
5. id of the project; None without one
6. username; None if unknown, not requested, or if the store does not know usernames
7. JSON of the payload, as text; None if not requested
8. JSON array of the values at the requested keys, as text, null for a missing key; None if no key is requested
9. and further: JSON of the value at each requested path, as text; None without a value
"""

ID, TIMESTAMP, EVENT, USER_ID, NAMESPACE_PATH, PROJECT_ID, USERNAME, PAYLOAD, VALUES, FIRST_PATH = range(10)
"""Indexes of the columns of an `EventRow`."""


class EventStore(Protocol):
    """A store that events are read from.

    Every method raises `StoreUnavailable`, `QueryTooSlow` or `TooManyQueries` if it can't answer.
    """

    knows_usernames: bool
    """Whether the events have usernames, if requested."""

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[EventRow]:
        """The selected events of a page, newest first."""

    def count(self, selection: Selection) -> int:
        """The number of selected events."""

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """A row for each group: its keys, then its measures."""

    def people(self, question: Question | Sessions) -> list[tuple[Any, ...]]:
        """The rows that the question describes, in any order; none if it selects nothing."""


class LocatedProject(msgspec.Struct, frozen=True):
    """A project of the directory.

    Attributes:
        namespace_path: traversal path of the project's namespace; None if unknown.
    """

    id: int
    namespace_path: str | None


class DirectoryReader(Protocol):
    """Reads names of users, paths of namespaces, and projects."""

    def usernames(self, user_ids: set[int]) -> dict[int, str]:
        """The usernames by user id; users without a known name are missing."""

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of a namespace, by full path."""

    def path_of_id(self, namespace_id: int) -> str | None:
        """The traversal path of a namespace, by its id."""

    def namespaces_like(self, text: str, limit: int) -> list[tuple[str, str]]:
        """Traversal and full paths of the reader's namespaces whose full path contains `text`, the shortest first."""

    def full_path_of(self, path: str) -> str | None:
        """The full path of a namespace, by traversal path."""

    def full_paths_of(self, paths: Collection[str]) -> dict[str, str]:
        """The full paths of namespaces, by traversal path; namespaces without a known one are missing."""

    def full_path_of_project(self, project_id: int) -> str | None:
        """The full path of a project, by its id."""

    def project_of(self, full_path: str) -> LocatedProject | None:
        """The project at a full path."""
