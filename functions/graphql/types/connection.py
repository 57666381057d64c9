"""Connections, as Relay specifies them: what is on a page, and where the page is.

https://relay.dev/graphql/connections.htm
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from functions.graphql.query.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Edge[Node]:
    """A node, and where it is in its connection."""

    node: Node
    cursor: str


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page is in its connection."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page_request of a connection a page is.

    Attributes:
        size: how many nodes the page has at most.
        cursor: the page begins right after it; backwards, it ends right before it.
        backwards: whether the page is the last one before the cursor, or of all.
    """

    size: int
    cursor: str | None = None
    backwards: bool = False

    def position[Position](self, read: Callable[[str], Position]) -> Position | None:
        """Where the cursor is, if there is one.

        Args:
            read: makes a position from a cursor, or raises ValueError.

        Raises:
            InvalidArgument: it is no cursor of the connection.
        """
        try:
            return None if self.cursor is None else read(self.cursor)
        except ValueError as error:
            raise InvalidArgument(f"{'before' if self.backwards else 'after'} is no cursor: {error}.") from None


class ConnectionPage[Node]:
    """A page of nodes: read when it is asked for, and once.

    Args:
        read: answers with up to so many nodes of the page_request, in the connection's order.
        count: answers how many nodes there are on all pages.
    """

    def __init__(
        self,
        page_request: PageRequest,
        read: Callable[[int], Sequence[Node]],
        cursor_of: Callable[[Node], str],
        count: Callable[[], int],
    ) -> None:
        self._page_request = page_request
        self._read = read
        self._cursor_of = cursor_of
        self._count = count

    @cached_property
    def _read_nodes(self) -> Sequence[Node]:
        """The page's, and one more where there is one: it says that there is another page."""
        return self._read(self._page_request.size + 1)

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """What is on the page."""
        size = self._page_request.size
        if self._page_request.backwards:
            return self._read_nodes[max(0, len(self._read_nodes) - size) :]
        return self._read_nodes[:size]

    @property
    def edges(self) -> list[Edge[Node]]:
        """What is on the page, with cursors."""
        return [Edge(node, self._cursor_of(node)) for node in self.nodes]

    @property
    def page_info(self) -> PageInfo:
        """Where the page is."""
        is_more = len(self._read_nodes) > self._page_request.size
        is_within = self._page_request.cursor is not None
        return PageInfo(
            has_next_page=is_within if self._page_request.backwards else is_more,
            has_previous_page=is_more if self._page_request.backwards else is_within,
            start_cursor=self._cursor_of(self.nodes[0]) if self.nodes else None,
            end_cursor=self._cursor_of(self.nodes[-1]) if self.nodes else None,
        )

    @cached_property
    def count(self) -> int:
        """How many nodes there are on all pages."""
        return self._count()
