"""What is asked of a store of events, and what it answers."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec


class Position(msgspec.Struct, frozen=True):
    """Where an event is among all: newest first, those of one moment by their ids."""

    timestamp: datetime
    id: UUID


class EventQuery(msgspec.Struct, frozen=True):
    """Which events are asked for, newest first.

    Attributes:
        namespaces: traversal paths; events of these and of all below them. None for all, those without one included.
        start: the first moment.
        end: the moment after the last.
        event_ids: ids of event types.
        user_ids: None for all users.
        after: only what comes after this position.
        limit: how many at most.
    """

    namespaces: tuple[str, ...] | None
    start: datetime
    end: datetime
    event_ids: tuple[int, ...]
    user_ids: tuple[int, ...] | None
    after: Position | None
    limit: int

    @property
    def selects_nothing(self) -> bool:
        """Whether no event can be among those asked for."""
        return self.namespaces == () or self.user_ids == () or not self.event_ids


def end_of_namespace(path: str) -> str:
    """What comes right after all paths that begin with `path`, in the order of their bytes: "/" is before "0"."""
    return path[:-1] + chr(ord("/") + 1)


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it is stored; `payload` is JSON, untouched."""

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    payload: msgspec.Raw


class StoreUnavailable(Exception):
    """The store can't be reached, or does not answer as it should."""


class QueryTooSlow(Exception):
    """The store gave up on a query that took too long."""


class EventStore(Protocol):
    """Where events are read from."""

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """The events that are asked for, newest first.

        Raises:
            StoreUnavailable, QueryTooSlow: there is no answer.
        """


class Directory(Protocol):
    """What is known of users and namespaces."""

    def usernames(self, user_ids: set[int]) -> dict[int, str]:
        """The names of those that have one."""

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of the namespace, or of the project's namespace."""

    def full_path_of(self, path: str) -> str | None:
        """The full path of the namespace at a traversal path."""
