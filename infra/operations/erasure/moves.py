"""Moves what is stored under former paths before a namespace is erased.

The directory says where such events belong, and forgets the namespace when it is erased.
"""

import time
from collections.abc import Callable
from contextlib import closing

from functions.shared import clickhouse
from functions.shared.postgres import Connection
from functions.shared.secret import UrlSource
from functions.sync.clickhouse_moves import count_pending
from functions.sync.moves import Mover

_POLL_SECONDS = 0.2
_CLICKHOUSE_SECONDS = 30

_ANY_MOVED = "SELECT EXISTS (SELECT FROM namespace_moves)"


class MovesRemain(Exception):
    """Events are still stored under former paths; the message says why."""


def finish_moves(
    connection: Connection, mover: Mover, seconds: float, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Moves everything in both stores that is stored under a former path.

    Raises:
        MovesRemain: the wait timed out.
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    if connection.execute(_ANY_MOVED).fetchone() != (True,):
        return
    deadline, is_told = time.monotonic() + seconds, False
    while (remaining := max(0.0, deadline - time.monotonic())) > 0:
        if mover.run(remaining).open == 0 and _pending_in_clickhouse(connection, mover.clickhouse_url) == 0:
            return
        if not is_told:
            progress("Waiting until all events of moved namespaces and projects are where they belong.")
            is_told = True
        time.sleep(_POLL_SECONDS)
    raise MovesRemain(
        f"after {seconds:.0f} s events still wait to be moved to where their namespaces are now;"
        " see `usage-events status`, and repeat the command"
    )


def _pending_in_clickhouse(connection: Connection, url: UrlSource | None) -> int:
    if url is None:
        return 0
    with closing(clickhouse.connect(url, _CLICKHOUSE_SECONDS)) as client:
        return count_pending(connection, client)
