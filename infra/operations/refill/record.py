"""The record of a refill in the database that is refilled: what it fills from, and whether it is finished."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from functions.shared.postgres import Connection
from infra.operations.refill.thresholds import Translation

_LAST_ID = UUID(int=2**128 - 1)

_READ = """
    SELECT epoch, target, thresholds, last_xact, complete_to, begun_at, finished_at
    FROM refills
    ORDER BY epoch
"""

_BEGIN = """
    INSERT INTO refills (epoch, target, thresholds, last_xact, complete_to)
    VALUES (%(epoch)s, %(target)s, %(thresholds)s, %(last_xact)s, %(complete_to)s)
"""

# Readers may use ClickHouse at once, which has everything. The sync copies rows of later transactions only.
_BEGIN_SYNC = """
    INSERT INTO sync_state (target, epoch, xact_id, id, updated_at, caught_up_at)
    VALUES (%(target)s, %(epoch)s, %(last_xact)s::text::xid8, %(id)s, now(), now())
    ON CONFLICT (target) DO UPDATE SET
        epoch = excluded.epoch,
        xact_id = excluded.xact_id,
        id = excluded.id,
        updated_at = excluded.updated_at,
        caught_up_at = excluded.caught_up_at
"""

# A namespace that moved meanwhile left behind what was not filled in yet.
_REPEAT_MOVES = """
    UPDATE namespace_moves
    SET opened = opened + 1, done_at = NULL
    WHERE recorded_at >= %(begun_at)s
"""

# Of an event that was stored again in another month at the very moment, the later row stays.
_REMOVE_STORED_AGAIN = """
    DELETE FROM ai_usage_events AS refilled
    USING ai_usage_events AS stored
    WHERE stored.xact_id > %(last_xact)s::text::xid8
      AND refilled.id = stored.id
      AND refilled.xact_id <= %(last_xact)s::text::xid8
      AND (refilled.event, refilled.user_id) = (stored.event, stored.user_id)
"""

_FINISH = "UPDATE refills SET finished_at = now() WHERE epoch = %(epoch)s"

_IS_UNFINISHED = """
    SELECT EXISTS (
        SELECT FROM refills WHERE epoch = (SELECT max(epoch) FROM refills) AND finished_at IS NULL
    )
"""


class Record(msgspec.Struct, frozen=True):
    """A refill.

    Attributes:
        epoch: first epoch of rows that are copied from the refilled database.
        target: id of the table in ClickHouse.
        thresholds: see `Translation`.
        last_xact: greatest transaction number of a refilled row.
        complete_to: everything committed before was copied from the lost database; None if unknown.
    """

    epoch: int
    target: str
    thresholds: list[int]
    last_xact: int
    complete_to: datetime | None
    begun_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def translation(self) -> Translation:
        """Returns how this refill translates transaction numbers."""
        return Translation(self.epoch, self.thresholds)


def read(connection: Connection) -> list[Record]:
    """Returns all refills, also of lost databases, in their order; the last one is of this database."""
    return [Record(*row) for row in connection.execute(_READ)]


def begin(connection: Connection, record: Record) -> None:
    """Records a refill, and makes the sync go on after the refilled rows. Call it within a transaction."""
    values: dict[str, Any] = msgspec.structs.asdict(record) | {"id": _LAST_ID}
    connection.execute(_BEGIN, values)
    connection.execute(_BEGIN_SYNC, values)


def finish(connection: Connection, record: Record) -> None:
    """Records that the refill is finished, and settles what happened meanwhile."""
    values = msgspec.structs.asdict(record)
    with connection.transaction():
        connection.execute(_REMOVE_STORED_AGAIN, values)
        connection.execute(_REPEAT_MOVES, values)
        connection.execute(_FINISH, values)


def is_unfinished(connection: Connection) -> bool:
    """Whether events are still missing that a refill will bring."""
    return connection.execute(_IS_UNFINISHED).fetchone() == (True,)
