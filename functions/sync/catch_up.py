"""Waits until everything committed before a call is in ClickHouse."""

import time

from functions.shared.postgres import Connection
from functions.shared.sync_state import oldest_transaction, read_watermark
from functions.sync.error import SyncError
from functions.sync.report import Report
from functions.sync.sync import Sync

_NEWEST = "SELECT pg_snapshot_xmax(pg_current_snapshot())"

_POLL_SECONDS = 0.2


def catch_up(sync: Sync, connection: Connection, wait_seconds: float, run_seconds: float) -> Report:
    """Copies everything that was committed before the call.

    Args:
        wait_seconds: longest wait for a running sync and for open transactions.
        run_seconds: time limit of the copying itself.

    Raises:
        SyncError: the wait timed out; the message names what it waited for.
        psycopg.Error, ClickHouseError: see `Sync.run`.
    """
    row = connection.execute(_NEWEST).fetchone()
    newest = int(row[0]) if row else 0
    give_up = time.monotonic() + wait_seconds
    while True:
        waits_for = "another sync"
        if read_watermark(connection).xact_id >= newest:
            report = sync.run(run_seconds)
            if report.status in ("out_of_time", "migrating"):
                raise SyncError(f"copying takes longer than {run_seconds:.0f} s")
            if report.status == "caught_up":
                return report
        else:
            waits_for = str(oldest_transaction(connection) or f"a transaction before {newest}")
        if time.monotonic() > give_up:
            raise SyncError(f"timed out after {wait_seconds:.0f} s waiting for {waits_for}")
        time.sleep(_POLL_SECONDS)
