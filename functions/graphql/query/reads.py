"""Measures how long the reads of a query take, and how many rows they return."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.people import Question
from functions.graphql.query.selection import Selection
from functions.graphql.query.sessions import Sessions
from functions.graphql.query.store import EventRow, EventStore, PageWindow, RequestedFields
from functions.shared.tracing import span


@dataclass(slots=True)
class Read:
    """The reads of one field.

    Attributes:
        milliseconds: time of each read.
        rows: number of rows of all of them.
    """

    milliseconds: list[float] = field(default_factory=list)
    rows: int = 0


class Reads:
    """The reads of one query, by the field that needed them.

    Attributes:
        source: name of the store that is read; None before the first read.
        resolving: type and name of the field that is being resolved; None before the first, and in an export.
    """

    def __init__(self) -> None:
        self.by_field: dict[str, Read] = {}
        self.source: str | None = None
        self.resolving: tuple[object, str] | None = None

    def timed[Result](self, read: Callable[..., Result], *arguments: Any) -> Result:
        """Returns what `read` returns, and counts it."""
        name, start, rows = self._name(), perf_counter(), 0
        try:
            with span(name):
                result = read(*arguments)
            rows = len(result) if isinstance(result, list) else 1
            return result
        finally:
            of_field = self.by_field.setdefault(name, Read())
            of_field.milliseconds.append(round((perf_counter() - start) * 1000, 1))
            of_field.rows += rows

    def _name(self) -> str:
        return "{}.{}".format(*self.resolving) if self.resolving else "export"


class MeasuredEvents:
    """An `EventStore` whose reads are counted."""

    def __init__(self, store: EventStore, reads: Reads) -> None:
        self._store = store
        self._reads = reads
        self.knows_usernames = store.knows_usernames

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[EventRow]:
        """See `EventStore.events`."""
        return self._reads.timed(self._store.events, selection, window, requested)

    def count(self, selection: Selection) -> int:
        """See `EventStore.count`."""
        return self._reads.timed(self._store.count, selection)

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """See `EventStore.aggregate`."""
        return self._reads.timed(self._store.aggregate, aggregation)

    def people(self, question: Question | Sessions) -> list[tuple[Any, ...]]:
        """See `EventStore.people`."""
        return self._reads.timed(self._store.people, question)
