"""Protocols of the stores that events and the directory are read from, with their arguments and results."""

from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.path import Path
from functions.graphql.query.selection import Selection


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
    """The parts of each payload that a query needs: the whole, or the values at some paths."""

    whole: bool = False
    paths: tuple[Path, ...] = ()


class StoredEvent(msgspec.Struct, frozen=True):
    """A stored event.

    Attributes:
        payload: unparsed JSON; None if not requested.
        values: JSON at each requested path; None without a value.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    project_id: int | None
    payload: msgspec.Raw | None
    values: tuple[msgspec.Raw | None, ...]


class EventStore(Protocol):
    """A store that events are read from.

    Every method raises `StoreUnavailable`, `QueryTooSlow` or `TooManyQueries` if it can't answer.
    """

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[StoredEvent]:
        """The selected events of a page, newest first."""

    def count(self, selection: Selection) -> int:
        """The number of selected events."""

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """A row for each group: its keys, then its measures."""


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

    def full_path_of(self, path: str) -> str | None:
        """The full path of a namespace, by traversal path."""

    def full_path_of_project(self, project_id: int) -> str | None:
        """The full path of a project, by its id."""

    def project_of(self, full_path: str) -> LocatedProject | None:
        """The project at a full path."""
