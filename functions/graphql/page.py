"""A page of events, as the schema shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from functions.graphql.cursor import to_cursor
from functions.graphql.event_query import Directory, EventQuery, Position, StoredEvent


@dataclass(slots=True)
class Usernames:
    """The names of a page's users: read at once, and only when one is asked for."""

    user_ids: set[int]
    directory: Directory
    known: dict[int, str] | None = None

    def name_of(self, user_id: int) -> str | None:
        """The user's name, if one is known."""
        if self.known is None:
            self.known = self.directory.usernames(self.user_ids)
        return self.known.get(user_id)


@dataclass(frozen=True, slots=True)
class User:
    """The user of an event on a page."""

    id: int
    usernames: Usernames

    @property
    def username(self) -> str | None:
        """The name, if one is known."""
        return self.usernames.name_of(self.id)


@dataclass(frozen=True, slots=True)
class Node:
    """An event on a page."""

    id: UUID
    timestamp: datetime
    event: int
    user: User
    namespace_path: str | None
    payload: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Edge:
    """An event, and where it is in the connection."""

    node: Node

    @property
    def cursor(self) -> str:
        """Where the event is, for `after`."""
        return to_cursor(Position(self.node.timestamp, self.node.id))


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page is in its connection."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a connection's events."""

    edges: list[Edge]
    page_info: PageInfo

    @property
    def nodes(self) -> list[Node]:
        """The events alone."""
        return [edge.node for edge in self.edges]


def page_of(events: Sequence[StoredEvent], size: int, query: EventQuery, directory: Directory) -> Page:
    """The page of the first `size` of `events`; one more of them says that there is a next page."""
    shown = events[:size]
    usernames = Usernames({event.user_id for event in shown}, directory)
    edges = [
        Edge(
            Node(
                event.id,
                event.timestamp,
                event.event,
                User(event.user_id, usernames),
                event.namespace_path,
                event.payload,
            )
        )
        for event in shown
    ]
    page_info = PageInfo(
        has_next_page=len(events) > size,
        has_previous_page=query.after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Page(edges, page_info)
