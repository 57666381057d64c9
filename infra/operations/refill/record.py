"""The record of a refill in the database that is refilled: what it fills from, and whether it is finished."""

from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from functions.shared.partitions import first_moment
from functions.shared.postgres import Connection
from functions.shared.sync_state import BEGINNING, SyncPosition
from infra.operations.refill.thresholds import Translation

_LAST_ID = UUID(int=2**128 - 1)

_READ = """
    SELECT epoch, target, thresholds, last_xact, complete_to, base_xact, begun_at, finished_at
    FROM refills
    ORDER BY epoch
"""

_BEGIN = """
    INSERT INTO refills (epoch, target, thresholds, last_xact, complete_to, base_xact)
    VALUES (%(epoch)s, %(target)s, %(thresholds)s, %(last_xact)s, %(complete_to)s, %(base_xact)s)
"""

_BEGIN_SYNC = """
    INSERT INTO sync_state (target, epoch, xact_id, id, updated_at, caught_up_at)
    VALUES (%(target)s, %(epoch)s, %(xact_id)s, %(id)s, now(), CASE WHEN %(is_complete)s THEN now() END)
    ON CONFLICT (target) DO UPDATE SET
        epoch = excluded.epoch,
        xact_id = excluded.xact_id,
        id = excluded.id,
        updated_at = excluded.updated_at,
        caught_up_at = excluded.caught_up_at
"""

# Whoever is carrying out a move now may not have seen what was filled in last.
_REPEAT_MOVES = "UPDATE namespace_moves SET opened = opened + 1 WHERE done_at IS NULL"

# Of an event that was stored again in another month at the very moment, the later row stays.
_REMOVE_STORED_AGAIN = """
    DELETE FROM ai_usage_events AS refilled
    USING ai_usage_events AS stored
    WHERE stored.xact_id > %(last_xact)s::text::xid8
      AND refilled.id = stored.id
      AND refilled.xact_id > %(base_xact)s::text::xid8
      AND refilled.xact_id <= %(last_xact)s::text::xid8
      AND (refilled.event, refilled.user_id) = (stored.event, stored.user_id)
"""

_FINISH = "UPDATE refills SET finished_at = now() WHERE epoch = %(epoch)s"

_PROGRESS = """
    INSERT INTO refilled_months AS known (epoch, month, filled_to, events)
    VALUES (%(epoch)s, %(month)s, %(end)s, %(events)s)
    ON CONFLICT (epoch, month) DO UPDATE SET
        filled_to = excluded.filled_to, events = known.events + excluded.events
"""

_FILLED_TO = "SELECT filled_to FROM refilled_months WHERE epoch = %s AND month = %s"

_UNFINISHED = """
    SELECT begun_at, coalesce(sum(events), 0)::bigint
    FROM refills
    LEFT JOIN refilled_months USING (epoch)
    WHERE finished_at IS NULL AND epoch = (SELECT max(epoch) FROM refills)
    GROUP BY epoch
"""


class Record(msgspec.Struct, frozen=True):
    """A refill.

    Attributes:
        epoch: first epoch of rows that are copied from the refilled database.
        target: id of the table in ClickHouse.
        thresholds: see `Translation`.
        last_xact: greatest transaction number of a refilled row.
        complete_to: everything committed before was copied from the lost database; None if unknown.
        base_xact: refilled rows have numbers after this one; 0 in a database that was new.
    """

    epoch: int
    target: str
    thresholds: list[int]
    last_xact: int
    complete_to: datetime | None
    base_xact: int = 0
    begun_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def translation(self) -> Translation:
        """Returns how this refill translates transaction numbers."""
        return Translation(self.epoch, self.thresholds, self.base_xact)

    @property
    def is_of_put_back(self) -> bool:
        """Whether the database had events, because it was put back to an earlier moment."""
        return self.base_xact > 0


def read(connection: Connection) -> list[Record]:
    """Returns all refills, also of lost databases, in their order; the last one is of this database."""
    return [Record(*row) for row in connection.execute(_READ)]


def begin(connection: Connection, record: Record) -> None:
    """Records a refill, and where the sync goes on. Call it within a transaction.

    ClickHouse has all that a new database gets, and readers may use it at once: the sync copies rows of later
    transactions only. What a database has that was put back, the sync copies from the first row.
    """
    values: dict[str, Any] = msgspec.structs.asdict(record)
    connection.execute(_BEGIN, values)
    start = BEGINNING if record.is_of_put_back else SyncPosition(record.last_xact, _LAST_ID)
    connection.execute(_BEGIN_SYNC, values | start.values() | {"is_complete": not record.is_of_put_back})


def filled_to(connection: Connection, record: Record, month: date) -> datetime:
    """Returns the moment up to which the month is filled."""
    row = connection.execute(_FILLED_TO, [record.epoch, month]).fetchone()
    return row[0] if row else first_moment(month)


def progress(connection: Connection, record: Record, month: date, end: datetime, events: int) -> None:
    """Records how far a month is filled. Call it in the transaction that adds the events."""
    connection.execute(_PROGRESS, {"epoch": record.epoch, "month": month, "end": end, "events": events})


def finish(connection: Connection, record: Record) -> None:
    """Records that the refill is finished, and settles what happened meanwhile."""
    values = msgspec.structs.asdict(record)
    with connection.transaction():
        connection.execute(_REMOVE_STORED_AGAIN, values)
        connection.execute(_REPEAT_MOVES)
        connection.execute(_FINISH, values)


def is_unfinished(connection: Connection) -> bool:
    """Whether events are still missing that a refill will bring."""
    return unfinished(connection) is not None


class UnfinishedRefill(NamedTuple):
    """A refill that was interrupted, or is under way.

    Attributes:
        events: number of events that it has added.
    """

    begun_at: datetime
    events: int


def unfinished(connection: Connection) -> UnfinishedRefill | None:
    """Returns the refill of this database if it is not finished. Those of lost databases count no more."""
    row = connection.execute(_UNFINISHED).fetchone()
    return UnfinishedRefill(*row) if row else None
