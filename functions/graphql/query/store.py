"""What is asked of a store of events, and what it answers."""

from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.path import Path
from functions.graphql.query.selection import Selection


class EventPosition(msgspec.Struct, frozen=True):
    """Where an event is among all: newest first, those of one moment by their ids."""

    timestamp: datetime
    id: UUID


class PageWindow(msgspec.Struct, frozen=True):
    """A page_request of the events selected.

    Attributes:
        limit: how many at most.
        beyond: only what comes after this position, or before it.
        backwards: whether it is the last ones, and those before the position, that are asked for.
    """

    limit: int
    beyond: EventPosition | None = None
    backwards: bool = False


class RequestedFields(msgspec.Struct, frozen=True):
    """What is asked of the payloads: all, or what is at some paths; the rest need not be read."""

    whole: bool = False
    paths: tuple[Path, ...] = ()


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it is stored.

    Attributes:
        payload: JSON, untouched; None where it is not requested.
        values: the JSON at each path that is requested, None where nothing is there.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    payload: msgspec.Raw | None
    values: tuple[msgspec.Raw | None, ...]


class EventStore(Protocol):
    """Where events are read from.

    Every method raises `StoreUnavailable` or `QueryTooSlow` where there is no answer.
    """

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[StoredEvent]:
        """The events in the window, newest first."""

    def count(self, selection: Selection) -> int:
        """How many events are selected."""

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """A row for each group: its keys, then what is measured of it."""


class DirectoryReader(Protocol):
    """What is known of users and namespaces."""

    def usernames(self, user_ids: set[int]) -> dict[int, str]:
        """The names of those that have one."""

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of the namespace, or of the project's namespace."""

    def full_path_of(self, path: str) -> str | None:
        """The full path of the namespace at a traversal path."""
