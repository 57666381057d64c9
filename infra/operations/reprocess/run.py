"""Runs the transformations of the present definitions again on stored events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec

from functions.ingest.transform import PREFETCH_SECONDS, prefetched
from functions.shared import locks
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import (
    Connection,
    Database,
    TimeLimits,
    advisory_lock_released,
    connect,
    try_advisory_lock,
)
from functions.shared.rejection import Rejection
from functions.shared.secret import UrlSource
from functions.shared.timestamp import utc_now
from infra.operations.refill.record import is_unfinished
from infra.operations.reprocess import record as records
from infra.operations.reprocess.context import StoredContext
from infra.operations.reprocess.findings import Findings
from infra.operations.reprocess.judgement import Judge, Judgement, Outcome, Rules
from infra.operations.reprocess.record import Record
from infra.operations.reprocess.saved import Saving, Undone, read_saved, undo
from infra.operations.reprocess.stored_events import (
    LOCKED,
    ROWS_AT_ONCE,
    Page,
    Position,
    Selection,
    StoredEvent,
    next_page,
)
from infra.operations.reprocess.transaction import ReprocessError, in_transaction

LIMITS = TimeLimits(statement=600, transaction=600)
# The planner does not know that few rows are wanted, and would read whole partitions.
_OPTIONS = (
    "-c lock_timeout=5s -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off "
    "-c max_parallel_workers_per_gather=0 -c jit=off"
)

_CHANGE = """
    UPDATE ai_usage_events AS event
    SET payload = changed.payload, project_id = changed.project_id
    FROM unnest(%(ids)s::uuid[], %(timestamps)s::timestamptz[], %(payloads)s::jsonb[], %(projects)s::bigint[])
        AS changed (id, timestamp, payload, project_id)
    WHERE event.id = changed.id AND event.timestamp = changed.timestamp
"""


@dataclass(frozen=True, slots=True)
class Reprocess:
    """Changes the payloads and projects of stored events to what the present transformations make of them.

    Attributes:
        progress: called after some events, with what was found so far and the time of the last event.
        wait_seconds: longest wait for events to move to where their namespaces are.
    """

    database_url: UrlSource
    registry: Registry
    rules: Rules
    progress: Callable[[Findings, datetime], None] = lambda _found, _until: None
    wait_seconds: float = 60

    def preview(self, selection: Selection) -> Findings:
        """Judges all selected events, and changes nothing.

        Raises:
            ReprocessError: a refill has yet to bring events.
            psycopg.Error: the connection to PostgreSQL failed.
        """
        findings, position = Findings(), Position.before(selection.end)
        with connect(self.database_url, LIMITS, _OPTIONS) as connection, closing(self._prefetching()) as database:
            _require_all_events(connection)
            while page := next_page(connection, selection, position):
                findings.add(self._judged(page.events, database))
                position = page.after
                self.progress(findings, position.timestamp)
        return findings

    def apply(
        self, selection: Selection, request: Mapping[str, Any], requested_by: str, saving: Saving
    ) -> tuple[Record, Findings, dict[str, int]]:
        """Changes the selected events, some in each transaction; goes on where a run of the same request was killed.

        Args:
            request: what was asked for, for the record.
            saving: gets what the events are before.

        Returns:
            The record, what was found now, and the counts of the whole run, also before it was killed.

        Raises:
            ReprocessError: another run is under way, a refill has yet to bring events, or events of moved namespaces
                do not come to their place.
            psycopg.Error: the connection to PostgreSQL failed.
        """
        findings = Findings()
        with connect(self.database_url, LIMITS, _OPTIONS) as connection, closing(self._prefetching()) as database:
            _lock(connection)
            with advisory_lock_released(connection, locks.REPROCESS):
                record = records.begin(connection, "apply", request, requested_by, selection.end)
                position = record.position
                while page := next_page(connection, selection, position):
                    self._change(connection, database, page, record, findings, saving)
                    position = page.after
                    self.progress(findings, position.timestamp)
                total = records.finish(connection, record, findings.counts())
        return record, findings, total

    def _prefetching(self) -> Database:
        """Returns the connection on which prefetches read, while the other one has rows locked."""
        return Database(self.database_url, LIMITS)

    def _judged(self, events: Sequence[StoredEvent], database: Database) -> list[Judgement]:
        judge = Judge(self.registry, self.rules)
        contexts = [judge.context(event) for event in events]
        additional = self._additional(events, contexts, database)
        return [judge.judge(*each) for each in zip(events, contexts, additional, strict=True)]

    def _additional(
        self, events: Sequence[StoredEvent], contexts: Sequence[StoredContext | None], database: Database
    ) -> list[Mapping[str, Any] | Rejection]:
        """Runs the prefetches, and returns what they add to each context."""
        found: list[Mapping[str, Any] | Rejection] = [{} for _ in events]
        groups = dict[str, list[int]]()
        for index, (event, context) in enumerate(zip(events, contexts, strict=True)):
            feature = self.registry.by_id[event.event].feature
            if feature.prefetcher is not None and context is not None:
                groups.setdefault(feature.name, []).append(index)
        for name, indexes in groups.items():
            some = [context for index in indexes if (context := contexts[index]) is not None]
            results = self._prefetched(self.registry.features[name], some, database)
            for index, result in zip(indexes, results, strict=True):
                found[index] = result
        return found

    @staticmethod
    def _prefetched(
        feature: Feature, contexts: Sequence[StoredContext], database: Database
    ) -> Sequence[Mapping[str, Any] | Rejection]:
        try:
            return database.run_confined(partial(prefetched, contexts, feature), PREFETCH_SECONDS)
        except Rejection as rejection:
            return [rejection] * len(contexts)

    def _change(
        self,
        connection: Connection,
        database: Database,
        page: Page,
        record: Record,
        findings: Findings,
        saving: Saving,
    ) -> None:
        """Judges and changes the events of a page, in one transaction that also records how far the run is."""
        judged = self._judged(page.events, database)

        def write() -> list[Judgement]:
            present = _locked(connection, page.events)
            judgements = self._judged_again(judged, present, database)
            changing = [one for one in judgements if one.outcome is Outcome.changed]
            if changing:
                saving.save(changing)
                connection.execute(_CHANGE, _values(changing))
            counts = findings.counts_with(judgements, len(page.events) - len(judgements))
            records.progress(connection, record, page.after, counts)
            return judgements

        judgements = in_transaction(connection, self.database_url, self.wait_seconds, write)
        findings.add(judgements)
        findings.gone += len(page.events) - len(judgements)

    def _judged_again(
        self, judged: Iterable[Judgement], present: Mapping[Any, StoredEvent], database: Database
    ) -> list[Judgement]:
        """Returns the judgements of the locked rows; those of rows that were changed meanwhile are made anew."""
        known = {one.event.position: one for one in judged}
        changed = [event for key, event in present.items() if event.xact_id != known[key].event.xact_id]
        again = {one.event.position: one for one in self._judged(changed, database)}
        return [again.get(key) or known[key] for key in present]


def undo_saved(
    database_url: UrlSource,
    file: Path,
    requested_by: str,
    *,
    apply: bool,
    progress: Callable[[Undone], None] = lambda _: None,
    wait_seconds: float = 60,
) -> Undone:
    """Puts back what a run has changed; see `undo`.

    Raises:
        ReprocessError: a run is under way, or a refill has yet to bring events.
        SavedError: the file can't be read.
        psycopg.Error: the connection to PostgreSQL failed.
    """
    undone = Undone()
    with connect(database_url, LIMITS, _OPTIONS) as connection:
        _lock(connection)
        with advisory_lock_released(connection, locks.REPROCESS):
            record = records.begin(connection, "undo", {"file": str(file)}, requested_by, utc_now()) if apply else None
            for some in batched(read_saved(file), ROWS_AT_ONCE, strict=False):
                put_back = partial(undo, connection, some, apply=apply)
                undone += in_transaction(connection, database_url, wait_seconds, put_back)
                progress(undone)
            if record is not None:
                records.finish(connection, record, msgspec.structs.asdict(undone))
    return undone


def _require_all_events(connection: Connection) -> None:
    """Makes sure that no refill brings events later, which would stay as they are."""
    if is_unfinished(connection):
        raise ReprocessError("PostgreSQL still lacks events: let `usage-events refill` finish first")


def _lock(connection: Connection) -> None:
    _require_all_events(connection)
    if not try_advisory_lock(connection, locks.REPROCESS):
        raise ReprocessError("another `usage-events reprocess` is running")


def _locked(connection: Connection, events: Sequence[StoredEvent]) -> dict[Any, StoredEvent]:
    """Locks the rows that are still there, and returns them as they are now."""
    values = {"ids": [event.id for event in events], "timestamps": [event.timestamp for event in events]}
    rows = (StoredEvent(*row) for row in connection.execute(LOCKED, values))
    return {row.position: row for row in rows}


def _values(judgements: Sequence[Judgement]) -> dict[str, Any]:
    return {
        "ids": [one.event.id for one in judgements],
        "timestamps": [one.event.timestamp for one in judgements],
        "payloads": [one.encoded.decode() for one in judgements],
        "projects": [one.project_id for one in judgements],
    }
