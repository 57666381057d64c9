"""What the consumer does with messages: each event becomes a row, or a rejected row."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.directory import Directory
from functions.ingest.store import RejectedRow, Row, write_events, write_rejected
from functions.ingest.transform import Candidate, prefetch, row_of, transform
from functions.ingest.users import Users
from functions.shared.batch import Batch
from functions.shared.event import read_event
from functions.shared.identifier import derived_id, time_of
from functions.shared.postgres import Connection, Database
from functions.shared.registry import Registry
from functions.shared.rejection import Rejection
from functions.shared.timestamp import format_timestamp


@dataclass(slots=True)
class Outcome:
    """What became of the events of some messages."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    ignored: int = 0
    stored: int = 0

    @property
    def duplicates(self) -> int:
        """Events that were stored before."""
        return len(self.rows) - self.stored

    def reject(self, raw: msgspec.Raw, position: int, batch: Batch, rejection: Rejection) -> None:
        """Keeps the event that `raw` is, with the reason why it can't be stored."""
        self.rejected.append(
            RejectedRow(
                id=derived_id(batch.received_at, f"rejected/{batch.id}", position),
                received_at=batch.received_at,
                source="sqs" if batch.grant is None else "https",
                code=rejection.code,
                message=_storable(rejection.message),
                body=_storable(_with_id_and_time(raw, position, batch)),
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
        candidates = self._read(batches, outcome)
        directory, users = Directory(), Users()
        for candidate in candidates:
            directory.note(candidate.event, candidate.batch.sender)
        self.database.run(directory.learn)
        candidates = _passing(partial(_place, directory=directory), candidates, outcome)
        failed = prefetch(candidates, self.database)
        candidates = _passing(partial(self._transform, failed=failed), candidates, outcome)
        named_projects = {candidate.returned_project_id for candidate in candidates}
        self.database.run(partial(directory.look_up_projects, named_projects))
        finish = partial(self._finish, directory=directory, users=users, outcome=outcome)
        _passing(finish, candidates, outcome)
        self.database.run(partial(_write, outcome, directory, users))
        return outcome

    def _read(self, batches: Iterable[Batch], outcome: Outcome) -> list[Candidate]:
        candidates = []
        for batch in batches:
            for position, raw in batch.positioned():
                try:
                    event = read_event(raw, position, batch, self.registry, self.retention_months)
                except Rejection as rejection:
                    outcome.reject(raw, position, batch, rejection)
                    continue
                if event is None:
                    outcome.ignored += 1
                else:
                    candidates.append(Candidate(batch, position, raw, event, event.context()))
        return candidates

    def _transform(self, candidate: Candidate, failed: Mapping[str, Rejection]) -> None:
        rejection = failed.get(candidate.event.type.feature.name)
        if rejection is not None:
            raise rejection
        transform(candidate, self.registry)

    def _finish(self, candidate: Candidate, directory: Directory, users: Users, outcome: Outcome) -> None:
        row = row_of(candidate, directory, self.retention_months)
        outcome.rows.append(row)
        username = candidate.event.username if row.user_id == candidate.event.user_id else None
        users.note(row.user_id, username, row.timestamp, candidate.batch.sender)


def _passing(step: Callable[[Candidate], None], candidates: Iterable[Candidate], outcome: Outcome) -> list[Candidate]:
    """The candidates that `step` lets pass; the others become rejected rows."""
    passed = []
    for candidate in candidates:
        try:
            step(candidate)
        except Rejection as rejection:
            outcome.reject(candidate.raw, candidate.position, candidate.batch, rejection)
        else:
            passed.append(candidate)
    return passed


def _place(candidate: Candidate, directory: Directory) -> None:
    """Tells the context which namespace the event belongs to, if its sender may write there."""
    namespace_path = directory.namespace_path(candidate.event)
    candidate.batch.sender.require_writable(candidate.event.user_id, namespace_path)
    if namespace_path is not None:
        candidate.context["namespace_path"] = namespace_path


def _write(outcome: Outcome, directory: Directory, users: Users, connection: Connection) -> None:
    with connection.transaction():
        users.write(connection)
        directory.write(connection)
        outcome.stored = write_events(outcome.rows, connection)
        write_rejected(outcome.rejected, connection)


def _storable(text: str) -> str:
    """`text` with a mark in the place of what PostgreSQL can't keep: U+0000, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _with_id_and_time(raw: msgspec.Raw, position: int, batch: Batch) -> str:
    """The event as it came; an object that lacks an id or a time has those it was given at its end."""
    text = bytes(raw).decode(errors="replace")
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
