"""The connection to PostgreSQL."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.sql import Composed

from functions.shared import session_settings
from functions.shared.failure import kind_of

type Connection = psycopg.Connection[tuple[Any, ...]]

_UNLOCK = "SELECT pg_advisory_unlock(%s)"

# Of errors that it ignores, psycopg logs what they say.
logging.getLogger("psycopg").setLevel(logging.ERROR)

_CONNECT_TIMEOUT_SECONDS = 5
_MAX_REASON_CHARACTERS = 500

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REASONS = {
    "25006": "PostgreSQL takes nothing: it is in a read-only transaction",
    "25P03": "the idle-in-transaction timeout was over",
    "25P04": "the transaction timeout was over",
    "40001": "the transaction could not be serialized",
    "40P01": "a deadlock was detected",
    "42501": "the role lacks a privilege",
    "42703": "a column does not exist",
    "42P01": "a table does not exist",
    "53100": "the disk is full",
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL has too many clients",
    "55P03": "a lock was not to be had before the lock timeout",
    "57014": "the statement timeout was over, or someone cancelled the statement",
    "57P01": "an administrator ended the connection",
    "57P02": "PostgreSQL crashed",
    "57P03": "PostgreSQL is starting up or shutting down",
}

# Both ends look whether the other is still there, also where only the server would wait.
_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}

# A session that holds a lock may have to wait for what another one does.
_IDLE = {"idle_session_timeout": "0"}


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long one connection may hold anything, in seconds; below the time limit of the function that uses it."""

    statement: int
    transaction: int


def connect(url: str, limits: TimeLimits, options: str = "") -> Connection:
    """A connection in autocommit mode, with a session of its own: `connection.transaction()` opens a transaction.

    Its limits are set on the connection, so that a frozen function holds neither a lock nor the watermark, and both
    ends look whether the other is still there. So are the settings that the code relies on. A pooler in between must
    leave the connection to its client until that goes (PgBouncer's `pool_mode = session`).

    Args:
        options: further settings of the connection, like `-c enable_bitmapscan=off`.

    Raises:
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    connection = _connected(url, limits)
    _apply(connection, _settings(url, limits, options) | _IDLE | _KEEPALIVES, spares_poolers=False)
    return connection


def _connected(url: str, limits: TimeLimits) -> Connection:
    known = psycopg.conninfo.conninfo_to_dict(url)
    return psycopg.connect(
        psycopg.conninfo.make_conninfo(
            url,
            options="",  # poolers refuse them: they are made settings of the connection, like our own
            client_encoding="UTF8",  # which poolers pass on
            connect_timeout=known.get("connect_timeout", _CONNECT_TIMEOUT_SECONDS),
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=limits.transaction * 1000,
        ),
        autocommit=True,
    )


def _settings(url: str, limits: TimeLimits, options: str) -> dict[str, str]:
    given = str(psycopg.conninfo.conninfo_to_dict(url).get("options", ""))
    own = {
        "statement_timeout": f"{limits.statement}s",
        "transaction_timeout": f"{limits.transaction}s",
        "idle_in_transaction_session_timeout": f"{limits.transaction}s",
    }
    return (
        session_settings.with_required_settings(session_settings.parse_options(given))
        | own
        | session_settings.parse_options(options)
    )


def _apply(connection: Connection, settings: dict[str, str], *, spares_poolers: bool) -> bool:
    """Makes the settings for the whole session; returns whether a pooler is in between."""
    statement = session_settings.apply_settings(settings, connection.info.backend_pid, spares_poolers=spares_poolers)
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.Error:
        connection.close()
        raise
    return row is not None and row[0] is True


@contextmanager
def advisory_lock_released(connection: Connection, lock: int) -> Iterator[None]:
    """Gives up an advisory lock after the block: PostgreSQL takes its time to notice that a connection was closed."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.execute(_UNLOCK, [lock])


def reason_of(error: psycopg.Error) -> str:
    """What went wrong, in one line and in our own words: PostgreSQL may quote rows, a trigger anything."""
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return _one_line(str(error))  # libpq's own words: the connection was not made, or is lost
    name = kind_of(error)
    known = _REASONS.get(error.sqlstate or "")
    return f"{known} ({name})" if known else name


def message_of(error: psycopg.Error) -> str:
    """What PostgreSQL says of a row that it refuses: for `rejected_events`, which hold the row; not for logs."""
    return _one_line(error.diag.message_primary or str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_REASON_CHARACTERS]


class Database:
    """Keeps a connection from one invocation of a function to the next, and replaces it once it is broken.

    Where a pooler is in between, each transaction may be served by another connection of its: whatever is done is then
    done in one transaction, which has the settings for itself. Without one, the session has them, at no further cost.
    """

    def __init__(self, url: str, limits: TimeLimits, options: str = "") -> None:
        self._url = url
        self._limits = limits
        self._settings = _settings(url, limits, options)
        self._connection: Connection | None = None
        self._beginning: Composed | None = None  # None where no pooler is in between

    def run[Result](self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns; it is called again, once, where a kept connection turns out to be dead.

        `work` must therefore do no harm when done twice. An error that it catches must be one of a transaction of its
        own: `connection.transaction()`.

        Raises:
            psycopg.OperationalError: PostgreSQL can't be reached, or went away.
            psycopg.Error: as `work` raises it.
        """
        kept = self._connection
        try:
            return self._done(work)
        except psycopg.errors.ReadOnlySqlTransaction:
            self.close()  # the address may be another server's by now, or the same may take rows again
            raise
        except psycopg.OperationalError:
            if kept is None or not kept.broken:
                raise
            return self._done(work)

    def run_confined[Result](self, work: Callable[[Connection], Result], seconds: int) -> Result:
        """As `run`, in a read-only transaction of limited time; what `work` does to the connection is undone."""

        def confined(connection: Connection) -> Result:
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(session_settings.confine_transaction(seconds))
                    return work(connection)
            finally:
                self._restore(connection)

        return self.run(confined)

    def _done[Result](self, work: Callable[[Connection], Result]) -> Result:
        connection = self._open()
        if self._beginning is None:
            return work(connection)
        connection.execute(self._beginning)
        try:
            result = work(connection)
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        connection.commit()
        return result

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = _connected(self._url, self._limits)
            has_pooler = _apply(connection, self._settings | _KEEPALIVES, spares_poolers=True)
            if has_pooler:
                connection.prepare_threshold = None  # what is prepared stays behind on a connection of the pooler's
            self._beginning = session_settings.begin_transaction(self._settings) if has_pooler else None
            self._connection = connection
        return self._connection

    def _restore(self, connection: Connection) -> None:
        """Undoes what a rollback does not: settings that were committed, and what psycopg makes of rows."""
        connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor
        if connection.closed or self._beginning is not None:
            return
        if connection.info.transaction_status == TransactionStatus.IDLE:
            connection.execute(session_settings.reset_session(self._settings | _KEEPALIVES))
        else:
            connection.close()

    def close(self) -> None:
        """Closes the connection, if there is one; `run` opens another."""
        if self._connection is not None:
            self._connection.close()
