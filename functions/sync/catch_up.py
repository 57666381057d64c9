"""For whoever has to know: waits until everything that was committed before is in ClickHouse."""

import time
from datetime import datetime

import msgspec

from functions.shared.postgres import Connection
from functions.shared.sync_state import read_watermark
from functions.sync.report import Report
from functions.sync.sync import Sync, SyncError

_NEWEST = "SELECT pg_snapshot_xmax(pg_current_snapshot())"

_OLDEST_TRANSACTION = """
    SELECT owner, xact_id::text, started_at
    FROM (
        SELECT 'process ' || pid, backend_xid, xact_start
        FROM pg_stat_activity
        WHERE backend_xid IS NOT NULL
        UNION ALL
        SELECT 'prepared as ' || gid, transaction, prepared
        FROM pg_prepared_xacts
    ) AS transactions (owner, xact_id, started_at)
    ORDER BY age(xact_id) DESC
    LIMIT 1
"""

_POLL_SECONDS = 0.2


class OldestTransaction(msgspec.Struct, frozen=True):
    """The transaction that has been open longest of those that have written: the watermark waits for it.

    Attributes:
        started_at: None where the role may not read the statistics of others.
    """

    owner: str
    xact_id: str
    started_at: datetime | None

    def __str__(self) -> str:
        since = f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC" if self.started_at else "when it is not ours to know"
        return f"transaction {self.xact_id} of {self.owner}, open since {since}"


def oldest_transaction(connection: Connection) -> OldestTransaction | None:
    """The oldest transaction that has written, if one is open."""
    row = connection.execute(_OLDEST_TRANSACTION).fetchone()
    return OldestTransaction(*row) if row else None


def catch_up(sync: Sync, connection: Connection, wait_seconds: float, run_seconds: float) -> Report:
    """Copies everything that was committed before the call.

    Args:
        wait_seconds: how long to wait for a sync that is running, and for transactions that are open.
        run_seconds: how long the copying itself may take.

    Raises:
        SyncError: there was something to wait for at the end of that time; the message names it.
        psycopg.Error, ClickHouseError: as for `Sync.run`.
    """
    row = connection.execute(_NEWEST).fetchone()
    newest = int(row[0]) if row else 0
    give_up = time.monotonic() + wait_seconds
    while True:
        waits_for = "another sync, which is running"
        if read_watermark(connection).xact_id >= newest:
            report = sync.run(run_seconds)
            if report.status == "out_of_time":
                raise SyncError(f"there is more than {run_seconds:.0f} s allow to copy")
            if report.status == "caught_up":
                return report
        else:
            waits_for = str(oldest_transaction(connection) or f"a transaction before {newest}")
        if time.monotonic() > give_up:
            raise SyncError(f"after {wait_seconds:.0f} s it still waits for {waits_for}")
        time.sleep(_POLL_SECONDS)
