"""`ConnectionPage`: a page of a Relay connection, with nodes, edges, cursors and page info.

https://relay.dev/graphql/connections.htm
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec

from functions.graphql.query.errors import InvalidArgument


class Edge[Node](msgspec.Struct, frozen=True):
    """A node and its cursor."""

    node: Node
    cursor: str


class PageInfo(msgspec.Struct, frozen=True):
    """Cursors of a page, and whether there are pages before and after."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class PageRequest(msgspec.Struct, frozen=True):
    """Which page a query requests.

    Attributes:
        size: maximum number of nodes.
        cursor: the page begins right after this cursor; if `backwards`, ends right before.
        backwards: requests the last nodes instead of the first.
    """

    size: int
    cursor: str | None = None
    backwards: bool = False

    def position[Position](self, read: Callable[[str], Position]) -> Position | None:
        """The cursor's position; None without a cursor.

        Args:
            read: converts a cursor to a position, or raises ValueError.

        Raises:
            InvalidArgument: the text is not a cursor of the connection.
        """
        try:
            return None if self.cursor is None else read(self.cursor)
        except ValueError as error:
            raise InvalidArgument(
                f"{'before' if self.backwards else 'after'} is not a cursor of this connection: {error}."
            ) from None


class ConnectionPage[Node]:
    """A page of nodes, read once, when first needed.

    Args:
        read: reads at most the given number of nodes of the page, in the connection's order.
        count: counts the nodes on all pages.
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
        """The nodes of the page, and one more if there is a further page."""
        return self._read(self._page_request.size + 1)

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """The nodes of the page."""
        size = self._page_request.size
        if self._page_request.backwards:
            return self._read_nodes[max(0, len(self._read_nodes) - size) :]
        return self._read_nodes[:size]

    @property
    def edges(self) -> list[Edge[Node]]:
        """The nodes of the page, with cursors."""
        return [Edge(node, self._cursor_of(node)) for node in self.nodes]

    @property
    def page_info(self) -> PageInfo:
        """Cursors of the page, and whether there are pages before and after."""
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
        """Number of nodes on all pages."""
        return self._count()
