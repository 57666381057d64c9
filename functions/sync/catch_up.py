"""For whoever has to know: waits until everything that was committed before is in ClickHouse."""

import time

from functions.shared.postgres import Connection
from functions.shared.sync_state import oldest_transaction, read_watermark
from functions.sync.report import Report
from functions.sync.sync import Sync, SyncError

_NEWEST = "SELECT pg_snapshot_xmax(pg_current_snapshot())"

_POLL_SECONDS = 0.2


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
