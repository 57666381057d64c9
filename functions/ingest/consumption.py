"""What the consumer does with messages: each event becomes a row, or a rejected row."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.directory import Directory
from functions.ingest.made_once import MadeOnce
from functions.ingest.store import RejectedRow, Row, place_in_order, write_events, write_rejected
from functions.ingest.transform import Candidate, prefetch, read_context, read_together, row_of, transform
from functions.ingest.users import Users
from functions.shared.batch import Batch
from functions.shared.event import read_attributes
from functions.shared.grant import Grant
from functions.shared.identifier import derived_id, time_of
from functions.shared.partitions import first_moment, wanted_months
from functions.shared.postgres import Connection, Database
from functions.shared.registry import Registry
from functions.shared.rejection import Rejection
from functions.shared.timestamp import format_timestamp
from functions.shared.wire import attributes_of

_LONGEST_KEPT = 1024 * 1024  # characters of a rejected event; SQS takes no more
_ROWS_AT_ONCE = 100  # so few that PostgreSQL works on them while the next ones are made


@dataclass(slots=True)
class Outcome:
    """What became of the events of some messages."""

    rejected: list[RejectedRow] = field(default_factory=list)
    ignored: int = 0
    accepted: int = 0
    stored: int = 0

    @property
    def duplicates(self) -> int:
        """Events that were stored before."""
        return self.accepted - self.stored

    def reject(self, raw: msgspec.Raw, position: int, batch: Batch, rejection: Rejection) -> None:
        """Keeps the event that `raw` is, with the reason why it can't be stored."""
        self.rejected.append(
            RejectedRow(
                id=derived_id(batch.received_at, f"rejected/{batch.id}", position),
                received_at=batch.received_at,
                source="sqs" if batch.grant is None else "https",
                code=rejection.code,
                message=_storable(rejection.message),
                body=_storable(_kept(raw, position, batch))[:_LONGEST_KEPT],
                sender_grant=batch.grant,
            )
        )


@dataclass(frozen=True, slots=True)
class Consumer:
    """What transforms and stores events."""

    database: Database
    registry: Registry
    retention_months: int

    def consume(self, batches: Iterable[Batch]) -> Outcome:
        """Stores all events of the batches, those that can't be stored as rejected ones, in one transaction.

        Raises:
            psycopg.OperationalError: PostgreSQL went away; nothing was stored.
        """
        outcome = Outcome()
        directory, users = Directory(), Users()
        candidates = self._prepared(self._read(batches, outcome), directory, outcome)
        slices = MadeOnce(self._slices(candidates, directory, users, outcome))
        times_are_assigned = _times_are_assigned(candidates)

        def write(connection: Connection) -> None:
            with connection.transaction():
                outcome.stored = write_events(slices, connection, times_are_assigned=times_are_assigned)
                directory.write(connection)
                users.write(connection)
                write_rejected(outcome.rejected, connection)

        self.database.run(write)
        return outcome

    def _read(self, batches: Iterable[Batch], outcome: Outcome) -> list[Candidate]:
        candidates = []
        senders: dict[Grant, Grant] = {}
        for batch in batches:
            sender = senders.setdefault(batch.sender, batch.sender)
            read = [None] * len(batch.events) if batch.refused else attributes_of(batch.events)
            for (position, raw), attributes in zip(batch.positioned(), read, strict=True):
                try:
                    if position in batch.refused:
                        raise batch.refused[position]
                    event = read_attributes(raw, position, batch, self.registry, self.retention_months, attributes)
                except Rejection as rejection:
                    outcome.reject(raw, position, batch, rejection)
                    continue
                if event is None:
                    outcome.ignored += 1
                else:
                    place = place_in_order(event.timestamp, event.id)
                    candidates.append(Candidate(batch, position, event, sender, place, event.explicit_path))
        return candidates

    def _prepared(self, candidates: list[Candidate], directory: Directory, outcome: Outcome) -> list[Candidate]:
        """The candidates after what has to be asked before the first row is written: the connection is busy then."""
        if not all(candidate.names_its_path for candidate in candidates):
            for candidate in candidates:
                directory.note(candidate.event, candidate.sender)
            self.database.run(directory.learn)
            candidates = _passing(partial(_place, directory=directory), candidates, outcome)
        if any(candidate.prefetches for candidate in candidates):
            candidates = _passing(_read_to_prefetch, candidates, outcome)
            failed = prefetch((candidate for candidate in candidates if candidate.prefetches), self.database)
            candidates = _passing(partial(_require_prefetched, failed=failed), candidates, outcome)
        if not all(candidate.names_its_path for candidate in candidates):
            candidates = _passing(partial(_transform_to_place, registry=self.registry), candidates, outcome)
            named_projects = {candidate.returned_project_id for candidate in candidates}
            self.database.run(partial(directory.look_up_projects, named_projects))
        return candidates

    def _slices(
        self, candidates: Sequence[Candidate], directory: Directory, users: Users, outcome: Outcome
    ) -> Iterator[list[Row]]:
        """The rows of the candidates, in the order in which they are written; the others become rejected rows.

        What they say about users and places is noted last, while PostgreSQL still works on the rows.
        """
        ordered = candidates if _times_are_assigned(candidates) else sorted(candidates, key=attrgetter("place"))
        for some in batched(ordered, _ROWS_AT_ONCE, strict=False):
            yield self._rows(some, directory, outcome)
        for candidate in candidates:
            event, row, sender = candidate.event, candidate.row, candidate.sender
            directory.note(event, sender)
            if row is not None:
                username = event.username if row.user_id == event.user_id else None
                users.note(row.user_id, username, row.timestamp, sender)

    def _rows(self, candidates: Sequence[Candidate], directory: Directory, outcome: Outcome) -> list[Row]:
        rows = []
        first_month = first_moment(wanted_months(datetime.now(UTC).date(), self.retention_months)[0])
        read_together(candidates)
        for candidate in candidates:
            try:
                if candidate.returned is None:
                    transform(candidate, self.registry)
                row = candidate.row = row_of(candidate, directory, self.retention_months)
                _require_kept_month(row, first_month)
            except Rejection as rejection:
                outcome.reject(candidate.event.raw, candidate.position, candidate.batch, rejection)
            else:
                rows.append(row)
            candidate.forget()
        outcome.accepted += len(rows)
        return rows


def _passing(step: Callable[[Candidate], object], candidates: Iterable[Candidate], outcome: Outcome) -> list[Candidate]:
    """The candidates that `step` lets pass; the others become rejected rows."""
    passed = []
    for candidate in candidates:
        try:
            step(candidate)
        except Rejection as rejection:
            outcome.reject(candidate.event.raw, candidate.position, candidate.batch, rejection)
        else:
            passed.append(candidate)
    return passed


def _place(candidate: Candidate, directory: Directory) -> None:
    """Finds out which namespace the event belongs to, if its sender may write there."""
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


def _transform_to_place(candidate: Candidate, registry: Registry) -> None:
    """A transformation may name the project, and with it the namespace, of an event that names none."""
    if not candidate.names_its_path:
        transform(candidate, registry)


def _require_kept_month(row: Row, first_month: datetime) -> None:
    """Lets pass what still has a partition: an event may have waited for long since it could be taken in."""
    if row.timestamp < first_month:
        raise Rejection("timestamp_out_of_range", "The month of the event is no longer kept.")


def _times_are_assigned(candidates: Iterable[Candidate]) -> bool:
    return any(candidate.event.time_is_assigned for candidate in candidates)


def _storable(text: str) -> str:
    """`text` with a mark in the place of what PostgreSQL can't keep: U+0000, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _kept(raw: msgspec.Raw, position: int, batch: Batch) -> str:
    """The event as it came; an object that lacks an id or a time has those it was given at its end."""
    text = bytes(raw).decode(errors="replace")
    if position in batch.refused:  # which is no event, and was given nothing
        return text
    try:
        content = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return text
    given: dict[str, str] = {}
    if content.get("id") is None:
        given["id"] = str(batch.event_id(position))
    if not _names_its_time(content):
        given["timestamp"] = format_timestamp(batch.received_at)
    if not given:
        return text
    separator = "," if content else ""
    return text.rstrip()[:-1] + separator + msgspec.json.encode(given).decode()[1:]


def _names_its_time(content: Mapping[str, Any]) -> bool:
    additional = content.get("additional_properties")
    if content.get("timestamp") is not None:
        return True
    if isinstance(additional, dict) and additional.get("timestamp") is not None:
        return True
    try:
        return time_of(UUID(content.get("id"))) is not None
    except (TypeError, ValueError, AttributeError):
        return False
