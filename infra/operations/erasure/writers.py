"""Waits for transactions that may still write what an erasure is about to remove."""

import time
from collections.abc import Callable

from functions.shared.postgres import Connection
from functions.shared.role_settings import CONSUMER_LIMITS
from functions.shared.sync_state import oldest_transaction, read_watermark

_POLL_SECONDS = 0.2

READING_SECONDS = CONSUMER_LIMITS.transaction + 10
"""A transaction that has written nothing for longer is no consumer's, since theirs are ended by then; a dump, say."""

# A consumer that read the erasures before this one was recorded holds a lock on the table until its transaction ends,
# also while it has written nothing yet and so has no transaction id.
_READERS = """
    SELECT virtualtransaction, coalesce('process ' || pid, 'a prepared transaction')
    FROM pg_locks
    WHERE locktype = 'relation'
      AND relation = 'erasures'::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
"""

_NEWEST = "SELECT pg_snapshot_xmax(pg_current_snapshot())"


class WritersRemain(Exception):
    """Transactions that were open before the erasure are still open; the message names one."""


def wait_for_writers(connection: Connection, seconds: float, progress: Callable[[str], None]) -> None:
    """Waits until every transaction has ended that may have begun before the erasure was recorded.

    Args:
        connection: must have no open transaction.

    Raises:
        WritersRemain: the wait timed out.
    """
    newest = int(connection.execute(_NEWEST).fetchall()[0][0])
    readers: dict[str, str] = dict(connection.execute(_READERS).fetchall())
    begin, is_told = time.monotonic(), False
    while remaining := _remaining(connection, readers, newest):
        waited = time.monotonic() - begin
        if waited > READING_SECONDS:
            readers = {}
        if waited > seconds:
            raise WritersRemain(
                f"after {seconds:.0f} s a transaction is still open that may write events of before: {remaining}."
                " End it, or wait, and repeat the command"
            )
        if not is_told:
            progress(f"Waiting for {remaining}, which may write events of before.")
            is_told = True
        time.sleep(_POLL_SECONDS)


def _remaining(connection: Connection, readers: dict[str, str], newest: int) -> str | None:
    """Returns a description of a transaction that has not ended; None if all have."""
    present: dict[str, str] = dict(connection.execute(_READERS).fetchall())
    for transaction, owner in readers.items():
        if transaction in present:
            return f"the transaction of {owner}"
    if read_watermark(connection).xact_id < newest:
        return str(oldest_transaction(connection) or f"a transaction before {newest}")
    return None
