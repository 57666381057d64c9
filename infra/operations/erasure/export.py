"""Exports everything that is stored of a user or a namespace, as lines of JSON."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from functions.shared import clickhouse
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.operations.erasure import exported_events, rejected_events
from infra.operations.erasure.exported_names import directory_lines, name_lines
from infra.operations.erasure.subject import Subject, Within, read_within
from infra.operations.export.output import CountedOutput

_SECONDS = 24 * 60 * 60
_LINES_BETWEEN_MESSAGES = 10_000

# All reads see one state of PostgreSQL, so that an event that is copied meanwhile is not exported a second time.
_ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_BEGIN = """
    INSERT INTO exports (kind, subject, requested_by)
    VALUES (%(kind)s, %(subject)s, %(requested_by)s)
    RETURNING id
"""

_FINISH = "UPDATE exports SET counts = %s, finished_at = clock_timestamp() WHERE id = %s"

_REJECTED = """
    SELECT id, event_id, received_at, source, code, message, body, attempts, replayed_at
    FROM rejected_events
    WHERE id = ANY(%s)
    ORDER BY id
"""

_HISTORY = """
    SELECT rejected_id, attempt, code, message, replayed_at
    FROM rejection_history
    WHERE rejected_id = ANY(%s)
    ORDER BY rejected_id, attempt
"""


class FormerRejection(msgspec.Struct):
    """An earlier rejection of an event that was replayed."""

    attempt: int
    code: str
    message: str
    replayed_at: datetime | None


class RejectedLine(msgspec.Struct, tag_field="record", tag="rejected_event"):
    """The line of a rejected event. `body` is the event as it came, as text, because it may not be JSON."""

    id: UUID
    event_id: UUID | None
    received_at: datetime
    source: str
    code: str
    message: str
    body: str
    attempts: int
    replayed_at: datetime | None
    history: list[FormerRejection] = []


class Exporter(msgspec.Struct, frozen=True):
    """The stores to export from.

    Attributes:
        registry: names the events.
        clickhouse_url: None if ClickHouse is off.
        progress: called with sentences about what goes on.
    """

    database_url: str
    registry: Registry
    clickhouse_url: str | None = None
    progress: Callable[[str], None] = lambda _: None

    def export(self, subject: Subject, requested_by: str, output: CountedOutput) -> Mapping[str, int]:
        """Writes a line for each event, name and rejected event; returns the numbers of lines by kind.

        Raises:
            psycopg.Error, ClickHouseError: a store can't be read; what was written is incomplete.
        """
        counts = dict.fromkeys(("events", "names", "namespaces and projects", "rejected events"), 0)
        limits = TimeLimits(_SECONDS, _SECONDS)
        with connect(self.database_url, limits) as recording, connect(self.database_url, limits) as connection:
            ((identifier,),) = recording.execute(_BEGIN, subject.values() | {"requested_by": requested_by}).fetchall()
            with _one_state(connection):
                within = read_within(connection, subject)
                for kind, line in self._lines(connection, within):
                    output.write(msgspec.json.encode(line) + b"\n")
                    counts[kind] += 1
                    if sum(counts.values()) % _LINES_BETWEEN_MESSAGES == 0:
                        self.progress(f"{sum(counts.values()):,} lines were written …")
            recording.execute(_FINISH, [Jsonb(counts), identifier])
        return counts

    def _lines(self, connection: Connection, within: Within) -> Iterator[tuple[str, msgspec.Struct]]:
        subject, names = within.subject, exported_events.event_names(connection, self.registry)
        for event in exported_events.of_postgresql(connection, subject, names):
            yield "events", event
        if self.clickhouse_url is not None:
            with closing(clickhouse.connect(self.clickhouse_url, _SECONDS)) as client:
                for event in exported_events.of_clickhouse_alone(client, connection, subject, names):
                    yield "events", event
        for name in name_lines(connection, subject):
            yield "names", name
        for line in directory_lines(connection, within):
            yield "namespaces and projects", line
        for found in rejected_events.find(connection, within):
            for rejected in _rejected(connection, found.own):
                yield "rejected events", rejected


def _rejected(connection: Connection, ids: list[UUID]) -> Iterator[RejectedLine]:
    lines = {row[0]: RejectedLine(*row) for row in connection.execute(_REJECTED, [ids])}
    for identifier, *former in connection.execute(_HISTORY, [ids]):
        lines[identifier].history = [*lines[identifier].history, FormerRejection(*former)]
    yield from lines.values()


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute(_ONE_STATE)
        yield
