"""Limits of one GraphQL query: nodes, bytes and seconds."""

import time

from functions.graphql.query.errors import AnswerTooLarge, InvalidArgument, QueryTooSlow

MAX_NODES = 10_000

# Lambda sends at most 6 MiB, headers and status included.
MAX_ANSWER_BYTES = 6 * 1024 * 1024 - 1024

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


class ByteBudget:
    """Counts the bytes of an answer while it is made, so that no answer is made that can't be sent."""

    def __init__(self, limit: int = MAX_ANSWER_BYTES) -> None:
        self._limit = limit
        self._count = 0

    def take(self, count: int) -> None:
        """Counts bytes of the answer.

        Raises:
            AnswerTooLarge: the answer has more bytes than can be sent.
        """
        self._count += count
        self.check()

    def check(self) -> None:
        """Checks the bytes counted so far.

        Raises:
            AnswerTooLarge: the answer has more bytes than can be sent.
        """
        if self._count > self._limit:
            raise AnswerTooLarge(self._limit)


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
