"""The connection to PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

type Connection = psycopg.Connection[tuple[Any, ...]]

_UNLOCK = "SELECT pg_advisory_unlock(%s)"

_CONNECT_TIMEOUT_SECONDS = 5
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long one connection may hold anything, in seconds; below the time limit of the function that uses it."""

    statement: int
    transaction: int


def connect(url: str, limits: TimeLimits, options: str = "") -> Connection:
    """A connection in autocommit mode: `connection.transaction()` opens a transaction.

    Its limits are set on the connection, so that a frozen function holds neither a lock nor the watermark, and both
    ends look whether the other is still there.

    Args:
        options: further settings of the connection, like `-c enable_bitmapscan=off`.

    Raises:
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    known = psycopg.conninfo.conninfo_to_dict(url)
    all_options = (
        f"{known.get('options', '')} -c statement_timeout={limits.statement}s "
        f"-c transaction_timeout={limits.transaction}s -c idle_in_transaction_session_timeout={limits.transaction}s "
        f"-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c timezone=UTC {options}"
    )
    return psycopg.connect(
        psycopg.conninfo.make_conninfo(
            url,
            options=all_options.strip(),
            connect_timeout=known.get("connect_timeout", _CONNECT_TIMEOUT_SECONDS),
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=limits.transaction * 1000,
        ),
        autocommit=True,
    )


@contextmanager
def unlocked_afterwards(connection: Connection, lock: int) -> Iterator[None]:
    """Gives up an advisory lock after the block: PostgreSQL takes its time to notice that a connection was closed."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.execute(_UNLOCK, [lock])


def reason_of(error: psycopg.Error) -> str:
    """What went wrong, in one line and without the rows that PostgreSQL quotes in an error's details."""
    return " ".join((error.diag.message_primary or str(error)).split())[:_LONGEST_REASON]


class Database:
    """Keeps a connection from one invocation of a function to the next, and replaces it once it is broken."""

    def __init__(self, url: str, limits: TimeLimits, options: str = "") -> None:
        self._url = url
        self._limits = limits
        self._options = options
        self._connection: Connection | None = None

    def run[Result](self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns; it is called again, once, where a kept connection turns out to be dead.

        `work` must therefore do no harm when done twice.

        Raises:
            psycopg.OperationalError: PostgreSQL can't be reached, or went away.
            psycopg.Error: as `work` raises it.
        """
        kept = self._connection
        try:
            return work(self._open())
        except psycopg.errors.ReadOnlySqlTransaction:
            self.close()  # the address may be another server's by now, or the same may take rows again
            raise
        except psycopg.OperationalError:
            if kept is None or not kept.broken:
                raise
            return work(self._open())

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, self._limits, self._options)
        return self._connection

    def close(self) -> None:
        """Closes the connection, if there is one; `run` opens another."""
        if self._connection is not None:
            self._connection.close()
