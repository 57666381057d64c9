"""Limits of one GraphQL query: nodes and seconds."""

import time

from functions.graphql.query.errors import InvalidArgument, QueryTooSlow

MAX_NODES = 10_000
MAX_SECONDS = 9.0


class NodeBudget:
    """Counts the nodes that a query requests over all its pages and lists."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self._limit = nodes
        self._count = 0

    def take(self, count: int) -> None:
        """Counts the nodes of a page or list before reading them.

        Raises:
            InvalidArgument: the query requests more than the budget in all.
        """
        self._count += count
        if self._count > self._limit:
            raise InvalidArgument(
                f"The query asks for {self._count:,} nodes or more; at most {self._limit:,} are allowed: "
                "ask for smaller pages, or in several queries."
            )


class Deadline:
    """The moment by which a query must be answered."""

    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """The seconds left, more than 0.

        Raises:
            QueryTooSlow: no time is left.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise QueryTooSlow
        return seconds
