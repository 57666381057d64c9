"""Turns the events of messages into rows or rejected rows, and writes both."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from operator import attrgetter

import psycopg
from msgspec.structs import replace

from functions.ingest.cached_iterable import CachedIterable
from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.directory.named_projects import identify_projects
from functions.ingest.erased import EventKey, EventsErased, UnerasedSlices, require_none_erased
from functions.ingest.following import follow_move, may_have_moved, state_rejected
from functions.ingest.message.batch import Batch
from functions.ingest.newer_events import NewerEvents
from functions.ingest.outcome import Outcome
from functions.ingest.postgres.erasures import active_erasures
from functions.ingest.postgres.errors import is_refusal, lacks_partition
from functions.ingest.postgres.events import RejectedRow, write_events, write_rejected
from functions.ingest.postgres.rejected_events import rejected_row
from functions.ingest.postgres.row import NO_OTHER_MONTH, Row, is_mid_month, neighbouring_month
from functions.ingest.postgres.usage import write_usage
from functions.ingest.reading import NONE_ERASED, Reading
from functions.ingest.statements import Statements
from functions.ingest.transform import (
    Candidate,
    prefetch,
    read_context,
    read_together,
    row_of,
    take_typed_payloads,
    transform,
)
from functions.ingest.typed_events import TypedEvents
from functions.shared.catalog.registry import Registry
from functions.shared.partitions import first_moment, make_partitions, wanted_months
from functions.shared.postgres import Connection, Database, message_of
from functions.shared.rejection import Rejection
from functions.shared.spare_time import NO_WORK, spare_time_used

# `map` calls these in C, which takes a fraction of the time of a loop in Python.
_PATH = attrgetter("event.explicit_path")
_PREFETCHER = attrgetter("event.type.feature.prefetcher")
_TIME_IS_ASSIGNED, _TIMESTAMP = attrgetter("event.time_is_assigned"), attrgetter("event.timestamp")
_DAY, _WRITE_ORDER = attrgetter("event.timestamp.day"), attrgetter("write_order")

_ROWS_AT_ONCE = 100  # small enough for PostgreSQL to write one slice while the next one is made


@dataclass(slots=True)
class Consumer:
    """Transforms and stores events."""

    database: Database
    registry: Registry
    retention_months: int
    known: KnownFacts = field(default_factory=KnownFacts)
    typed: TypedEvents = field(init=False)
    newer: NewerEvents = field(init=False)

    def __post_init__(self) -> None:
        self.typed = TypedEvents(self.registry)
        self.newer = NewerEvents(self.registry)

    def reading(self, batches: Sequence[Batch], erased: Set[EventKey] = NONE_ERASED) -> Reading:
        """Returns the events of the batches, which can be read before they are consumed."""
        return Reading(batches, self.registry, self.retention_months, erased)

    def consume(
        self, batches: Sequence[Batch], reading: Reading | None = None, spare_work: Iterator[object] = NO_WORK
    ) -> Outcome:
        """Stores all events of the batches, and stores those that fail as rejected events.

        One transaction writes all events. If PostgreSQL refuses an event, halving the batches finds that event.

        Args:
            reading: the events of the batches, if they were read before.
            spare_work: work that is done while PostgreSQL works. See `spare_time_used`.

        Raises:
            psycopg.Error: PostgreSQL is unavailable or accepts no rows. A repeated call does not store events twice.
        """
        try:
            return self._consume_at_once(batches, reading, spare_work)
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            reason = message_of(error)
        halves = _halves(batches)
        return self.consume(halves[0]) + self.consume(halves[1]) if halves else self._reject(batches[0], reason)

    def _consume_at_once(
        self, batches: Sequence[Batch], reading: Reading | None = None, spare_work: Iterator[object] = NO_WORK
    ) -> Outcome:
        """Stores all events but those whose users or namespaces were erased after they were sent.

        Such an event is only found when it becomes a row. The others are then consumed as if it had not been there,
        because it must not state facts either.
        """
        erased = NONE_ERASED
        while True:
            try:
                return self._consume_read(reading or self.reading(batches, erased), spare_work)
            except EventsErased as found:
                erased |= found.keys
                reading = None

    def _consume_read(self, reading: Reading, spare_work: Iterator[object]) -> Outcome:
        reading.finish()
        self.newer.keep(reading, self.database)
        outcome, statements = reading.outcome, Statements(self.known)
        candidates = self._prepared(reading.candidates, statements, outcome)
        looks_up = _may_be_in_other_months(candidates)
        ordered = candidates if looks_up else sorted(candidates, key=_WRITE_ORDER)
        slices = CachedIterable(self._slices(candidates, ordered, statements, outcome))
        conflicts: list[RejectedRow] = []

        def write(connection: Connection) -> None:
            with connection.transaction():
                erasures = active_erasures(connection)
                kept = UnerasedSlices(slices, candidates, erasures)
                with spare_time_used(connection, spare_work):
                    written = write_events(kept, connection, looks_up=looks_up)
                outcome.stored = written.stored
                require_none_erased(zip(outcome.rejected_keys, outcome.rejected, strict=True), erasures)
                conflicts[:] = _conflicts(written.conflicts, candidates)
                write_rejected([*outcome.rejected, *conflicts], connection)
                with spare_time_used(connection, spare_work):
                    statements.facts.write(connection)
                write_usage(written.usage, connection)

        with ExitStack() as undone:
            undone.callback(self.known.forget)
            self._write(write, outcome)
            undone.pop_all()
        statements.facts.after_commit(self.database)
        outcome.accepted -= len(conflicts)
        outcome.rejected += conflicts
        return outcome

    def _write(self, write: Callable[[Connection], None], outcome: Outcome) -> None:
        """Runs `write`; creates missing partitions and runs `write` again if a month has no partition."""
        try:
            self.database.run(write)
        except psycopg.errors.CheckViolation as error:
            if not lacks_partition(error):
                raise
            months = wanted_months(datetime.now(UTC).date(), self.retention_months)
            outcome.partitions = self.database.run(partial(make_partitions, months=months))
            self.database.run(write)

    def _reject(self, batch: Batch, reason: str) -> Outcome:
        """Stores the batch's only event, which PostgreSQL refuses, as a rejected event."""
        outcome = Outcome()
        rejection = Rejection("refused_by_postgresql", f"PostgreSQL refuses the event: {reason}.")
        outcome.reject(batch.events[0], batch.first, batch, rejection)
        (row,) = outcome.rejected
        return outcome if self.database.run(partial(_write_unless_erased, row)) else Outcome(erased=1)

    def _prepared(self, candidates: list[Candidate], statements: Statements, outcome: Outcome) -> list[Candidate]:
        """Runs the lookups that must precede the first write, because writing occupies the connection.

        Returns:
            The candidates that were not rejected.
        """
        directory = statements.directory
        places = _of_each_place(candidates)
        if any(one.event.project.is_unidentified for one in places):
            unidentified = [(one.event, one.sender) for one in candidates if one.event.project.is_unidentified]
            self.database.run(partial(identify_projects, unidentified))
            places = _of_each_place(candidates)
        if may_have_moved(places, directory, self.database):
            passed = _passing(partial(follow_move, directory=directory), candidates, outcome)
            state_rejected(set(candidates).difference(passed), directory, statements.users)
            candidates = passed
        names_every_path = None not in map(_PATH, places)
        if not names_every_path:
            for candidate in candidates:
                directory.add_event(candidate.event, candidate.sender, candidate.batch.received_at)
            self.database.run(directory.load_known)
            candidates = _passing(partial(_find_namespace, directory=directory), candidates, outcome)
        if any(map(_PREFETCHER, candidates)):
            candidates = _passing(_read_to_prefetch, candidates, outcome)
            failed = prefetch((candidate for candidate in candidates if candidate.prefetches), self.database)
            candidates = _passing(partial(_require_prefetched, failed=failed), candidates, outcome)
        if not names_every_path:
            for some in batched(candidates, _ROWS_AT_ONCE, strict=False):
                take_typed_payloads((candidate for candidate in some if not candidate.names_its_path), self.typed)
            candidates = _passing(partial(_transform_to_find_namespace, registry=self.registry), candidates, outcome)
            named_projects = {candidate.returned_project_id for candidate in candidates}
            self.database.run(partial(directory.look_up_projects, named_projects))
        return candidates

    def _slices(
        self, candidates: Sequence[Candidate], ordered: Sequence[Candidate], statements: Statements, outcome: Outcome
    ) -> Iterator[list[Row]]:
        """Yields the rows in the order of `ordered`, and adds failing candidates to the rejected events.

        Statements about users and namespaces are collected last. Each step of that yields no rows, so that PostgreSQL
        gets the rows of before meanwhile.
        """
        for some in batched(ordered, _ROWS_AT_ONCE, strict=False):
            yield self._rows(some, statements.directory, outcome)
        for _ in statements.steps(candidates):
            yield []

    def _rows(self, candidates: Sequence[Candidate], directory: BatchDirectory, outcome: Outcome) -> list[Row]:
        rows = []
        first_month = first_moment(wanted_months(datetime.now(UTC).date(), self.retention_months)[0])
        read_together(candidates, self.typed)
        for candidate in candidates:
            try:
                transform(candidate, self.registry)
                row = candidate.row = row_of(candidate, directory, self.retention_months)
                _require_kept_month(row, first_month)
            except Rejection as rejection:
                outcome.reject(candidate.event.raw, candidate.index, candidate.batch, rejection)
            else:
                rows.append(row)
            candidate.forget()
        outcome.accepted += len(rows)
        return rows


def _write_unless_erased(row: RejectedRow, connection: Connection) -> bool:
    """Stores a rejected event, unless its user or namespace was erased after it was sent; returns whether it did."""
    with connection.transaction():
        if active_erasures(connection).repel_rejected(row):
            return False
        write_rejected([row], connection)
    return True


def _halves(batches: Sequence[Batch]) -> tuple[Sequence[Batch], Sequence[Batch]] | None:
    """Splits the batches into halves; returns None for a single event.

    Only refusals by PostgreSQL are traced to an event; the handler traces failures of the code to a message.
    """
    if len(batches) > 1:
        half = len(batches) // 2
        return batches[:half], batches[half:]
    (batch,) = batches
    half = len(batch.events) // 2
    if half == 0:
        return None
    rest = replace(batch, events=batch.events[half:], first=batch.first + half)
    return [replace(batch, events=batch.events[:half])], [rest]


def _passing(step: Callable[[Candidate], object], candidates: Iterable[Candidate], outcome: Outcome) -> list[Candidate]:
    """Returns the candidates for which `step` does not raise; adds the others to the rejected events."""
    passed = []
    for candidate in candidates:
        try:
            step(candidate)
        except Rejection as rejection:
            outcome.reject(candidate.event.raw, candidate.index, candidate.batch, rejection)
        else:
            passed.append(candidate)
    return passed


def _of_each_place(candidates: Iterable[Candidate]) -> Collection[Candidate]:
    """Returns one candidate for each namespace and project. Events that name the same share the references to them."""
    return {(id(one.event.namespace), id(one.event.project)): one for one in candidates}.values()


def _find_namespace(candidate: Candidate, directory: BatchDirectory) -> None:
    """Finds the event's namespace, and checks that the sender may write there."""
    if not candidate.names_its_path:
        candidate.namespace_path = directory.namespace_path(candidate.event)
        candidate.sender.require_writable(candidate.event.user_id, candidate.namespace_path)


def _read_to_prefetch(candidate: Candidate) -> None:
    if candidate.prefetches:
        read_context(candidate)


def _require_prefetched(candidate: Candidate, failed: Mapping[str, Rejection]) -> None:
    rejection = failed.get(candidate.event.type.feature.name)
    if rejection is not None:
        raise rejection


def _transform_to_find_namespace(candidate: Candidate, registry: Registry) -> None:
    """Transforms an event without a namespace path, because a transformation may name its project."""
    if not candidate.names_its_path:
        transform(candidate, registry)


def _require_kept_month(row: Row, first_month: datetime) -> None:
    """Checks that the row's month still has a partition, because an accepted event may wait long in the queue."""
    if row.timestamp < first_month:
        raise Rejection("timestamp_out_of_range", "The month of the event is no longer kept.")


def _may_be_in_other_months(candidates: Sequence[Candidate]) -> bool:
    """Whether any event's id may be stored in another month, assuming that no transformation changes its timestamp."""
    if any(map(_TIME_IS_ASSIGNED, candidates)):
        return True
    if all(map(is_mid_month, set(map(_DAY, candidates)))):
        return False
    return any(neighbouring_month(timestamp) != NO_OTHER_MONTH for timestamp in map(_TIMESTAMP, candidates))


def _conflicts(rows: Sequence[Row], candidates: Iterable[Candidate]) -> list[RejectedRow]:
    """Returns rejected rows for the candidates whose ids belong to other stored events."""
    if not rows:
        return []
    taken = {id(row) for row in rows}
    rejection = Rejection("id_conflict", "A stored event with another name or user has the same id.")
    return [
        rejected_row(candidate.event.raw, candidate.index, candidate.batch, rejection)
        for candidate in candidates
        if id(candidate.row) in taken
    ]
