"""The record of a run that changes stored events: who asked for it, of which events, and how far it is."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from functions.shared.postgres import Connection
from infra.operations.reprocess.stored_events import Position

_UNFINISHED = """
    SELECT number, end_at, read_to_timestamp, read_to_id, counts
    FROM reprocessings
    WHERE finished_at IS NULL AND kind = %(kind)s AND request = %(request)s
    ORDER BY number
    LIMIT 1
"""

_ALL_UNFINISHED = """
    SELECT number, kind, request, requested_by, begun_at, counts
    FROM reprocessings
    WHERE finished_at IS NULL
    ORDER BY number
"""

_BEGIN = """
    INSERT INTO reprocessings (kind, request, requested_by, end_at, read_to_timestamp, read_to_id)
    VALUES (%(kind)s, %(request)s, %(requested_by)s, %(end)s, %(end)s, '00000000-0000-0000-0000-000000000000')
    RETURNING number, end_at, read_to_timestamp, read_to_id, counts
"""

_PROGRESS = """
    UPDATE reprocessings
    SET read_to_timestamp = %(timestamp)s, read_to_id = %(id)s, counts = %(counts)s
    WHERE number = %(number)s
"""

_FINISH = "UPDATE reprocessings SET counts = %(counts)s, finished_at = clock_timestamp() WHERE number = %(number)s"


class Record(NamedTuple):
    """A run that has begun.

    Attributes:
        end: moment before which the run's last events are.
        position: where the run goes on.
        counts: what the run did before it was interrupted.
    """

    number: int
    end: datetime
    position: Position
    counts: Mapping[str, int]

    @property
    def was_interrupted(self) -> bool:
        """Whether the run has begun before."""
        return self.position != Position.before(self.end)


def begin(connection: Connection, kind: str, request: Mapping[str, Any], requested_by: str, end: datetime) -> Record:
    """Records a run, or returns the record of the unfinished run that was asked for with the same words.

    Args:
        kind: `apply` or `undo`.
        request: what was asked for.
        end: moment before which the last events are; the record of an unfinished run keeps its own.
    """
    values = {"kind": kind, "request": Jsonb(json.loads(json.dumps(request, default=str))), "end": end}
    row = connection.execute(_UNFINISHED, values).fetchone()
    if row is None:
        row = connection.execute(_BEGIN, values | {"requested_by": requested_by}).fetchone()
    if row is None:
        raise AssertionError("INSERT returns a row")
    number, ends_at, timestamp, identifier, counts = row
    return Record(number, ends_at, Position(timestamp, identifier), counts)


def progress(connection: Connection, record: Record, position: Position, counts: Mapping[str, int]) -> None:
    """Records how far the run is. Call it in the transaction that changes the events."""
    values = {"timestamp": position.timestamp, "id": position.id, "counts": Jsonb(_total(record, counts))}
    connection.execute(_PROGRESS, values | {"number": record.number})


def finish(connection: Connection, record: Record, counts: Mapping[str, int]) -> dict[str, int]:
    """Records that the run is finished; returns what it did in all."""
    total = _total(record, counts)
    connection.execute(_FINISH, {"counts": Jsonb(total), "number": record.number})
    return total


def _total(record: Record, counts: Mapping[str, int]) -> dict[str, int]:
    return {name: record.counts.get(name, 0) + number for name, number in counts.items()}


class UnfinishedRun(NamedTuple):
    """A run that was interrupted, or is under way."""

    number: int
    kind: str
    request: dict[str, Any]
    requested_by: str
    begun_at: datetime
    counts: dict[str, int]


def unfinished(connection: Connection) -> list[UnfinishedRun]:
    """Returns the runs that are not finished, oldest first."""
    return [UnfinishedRun(*row) for row in connection.execute(_ALL_UNFINISHED)]
