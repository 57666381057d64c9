"""Connects to PostgreSQL with time limits and keeps connections between invocations."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.sql import Composed

from functions.shared import session_settings
from functions.shared.failure import class_and_code
from functions.shared.secret import SECONDS_PER_ATTEMPT, UrlSource, changed_url, current_url
from functions.shared.spare_time import SpareTimeConnection

type Connection = psycopg.Connection[tuple[Any, ...]]

_TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"

# psycopg logs the messages of errors that it ignores; they may quote rows.
logging.getLogger("psycopg").setLevel(logging.ERROR)

_CONNECT_TIMEOUT_SECONDS = 5
_MAX_REASON_CHARACTERS = 500

# While a password is rotated, PostgreSQL has the new one some seconds before the secret does, or after.
_ROTATION_SECONDS = 5

# A failed connection is no failed login, but the database may also have moved to another address.
_SECONDS_PER_ADDRESS = 30

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REASONS = {
    "25006": "PostgreSQL accepts no writes: the transaction is read-only",
    "25P03": "the idle-in-transaction timeout expired",
    "25P04": "the transaction timeout expired",
    "40001": "the transaction could not be serialized",
    "40P01": "a deadlock was detected",
    "42501": "the role lacks a privilege",
    "42703": "a column does not exist",
    "42P01": "a table does not exist",
    "53100": "the disk is full",
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL has too many clients",
    "55P03": "the lock timeout expired",
    "57014": "the statement timeout expired or the statement was cancelled",
    "57P01": "an administrator ended the connection",
    "57P02": "PostgreSQL crashed",
    "57P03": "PostgreSQL is starting up or shutting down",
}

# Both the client and the server check that the other end is alive, also while only the server waits.
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}

# A session that holds a lock may idle while it waits for another session.
_IDLE = {"idle_session_timeout": "0"}


class TimeLimits(msgspec.Struct, frozen=True):
    """Time limits of a connection in seconds, shorter than those of the function that uses it."""

    statement: int
    transaction: int

    def settings(self) -> dict[str, str]:
        """Returns the limits as settings of PostgreSQL."""
        return {
            "statement_timeout": f"{self.statement}s",
            "transaction_timeout": f"{self.transaction}s",
            "idle_in_transaction_session_timeout": f"{self.transaction}s",
        }


def connect(source: UrlSource, limits: TimeLimits, options: str = "") -> Connection:
    """Connects in autocommit mode with a session of its own; `connection.transaction()` opens a transaction.

    The connection has time limits, so that a frozen function holds neither a lock nor the watermark, keepalives on both
    ends, and the required settings. A pooler must dedicate a server connection to the client (PgBouncer's `pool_mode =
    session`).

    Args:
        source: the URL, or the secret that holds it. The secret is read again if the login fails.
        options: further settings, for example `-c enable_bitmapscan=off`.

    Raises:
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    connection, url = _logged_in(source, limits)
    _apply(connection, _settings(url, limits, options) | _IDLE | KEEPALIVES, spares_poolers=False)
    return connection


def _logged_in(source: UrlSource, limits: TimeLimits) -> tuple[Connection, str]:
    """Connects, perhaps with a password that is being rotated just now; returns the connection and its URL."""
    url, give_up = current_url(source), time.monotonic() + _ROTATION_SECONDS
    while True:
        try:
            return _connected(url, limits), url
        except psycopg.OperationalError as error:
            is_refused = _is_login_refused(error)
            changed = changed_url(source, url, SECONDS_PER_ATTEMPT if is_refused else _SECONDS_PER_ADDRESS)
            if changed is None and (isinstance(source, str) or not is_refused or time.monotonic() > give_up):
                raise
            if changed is None:
                time.sleep(SECONDS_PER_ATTEMPT)
            url = changed or url


def _is_login_refused(error: psycopg.OperationalError) -> bool:
    """Whether PostgreSQL refused a password (SQLSTATE 28P01, which libpq does not tell during a login)."""
    return error.pgconn is not None and error.pgconn.used_password


def _connected(url: str, limits: TimeLimits) -> Connection:
    known = psycopg.conninfo.conninfo_to_dict(url)
    return SpareTimeConnection.connect(
        psycopg.conninfo.make_conninfo(
            url,
            options="",  # poolers refuse startup options; a statement applies them instead
            client_encoding="UTF8",  # poolers accept this parameter
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
    return (
        session_settings.with_required_settings(session_settings.parse_options(given))
        | limits.settings()
        | session_settings.parse_options(options)
    )


def _probe(connection: Connection, settings: dict[str, str]) -> tuple[bool, bool]:
    """Returns whether a pooler is in between, and whether the session has the settings from its role."""
    try:
        row = connection.execute(session_settings.has_settings(settings, connection.info.backend_pid)).fetchone()
    except psycopg.Error:
        connection.close()
        raise
    return (False, False) if row is None else (row[0] is True, row[1] is True)


def _apply(connection: Connection, settings: dict[str, str], *, spares_poolers: bool) -> bool:
    """Applies the settings to the session; returns whether a pooler is in between."""
    statement = session_settings.apply_settings(settings, connection.info.backend_pid, spares_poolers=spares_poolers)
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.Error:
        connection.close()
        raise
    return row is not None and row[0] is True


def try_advisory_lock(connection: Connection, lock: int) -> bool:
    """Tries to take an advisory lock of the session; returns whether this connection holds it now."""
    return connection.execute(_TRY_LOCK, [lock]).fetchone() == (True,)


@contextmanager
def advisory_lock_released(connection: Connection, lock: int) -> Iterator[None]:
    """Releases an advisory lock after the block; PostgreSQL may notice a closed connection late."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.execute(_UNLOCK, [lock])


def reason_of(error: psycopg.Error) -> str:
    """Describes an error in one line without PostgreSQL's message, which may quote rows."""
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return _one_line(str(error))  # libpq's message about a failed or lost connection quotes no rows
    name = class_and_code(error)
    known = _REASONS.get(error.sqlstate or "")
    return f"{known} ({name})" if known else name


def message_of(error: psycopg.Error) -> str:
    """Returns PostgreSQL's own message, which may quote a row: for `rejected_events`, never for logs."""
    return _one_line(error.diag.message_primary or str(error))


def _one_line(text: str) -> str:
    sentences = re.sub(r"(?<![.:,\s])\s*\n", ". ", text.strip())
    return " ".join(sentences.split())[:_MAX_REASON_CHARACTERS]


class Database:
    """Keeps a connection between invocations of a function, and replaces a broken one.

    Behind a pooler each transaction may use another server connection, so all work runs in one transaction that applies
    the settings. Without a pooler, the settings are applied once to the session.
    """

    def __init__(self, source: UrlSource, limits: TimeLimits, options: str = "") -> None:
        self._source = source
        self._limits = limits
        self._options = options
        self._url: str | None = None  # of the connection
        self._settings: dict[str, str] = {}
        self._connection: Connection | None = None
        self._beginning: Composed | None = None  # None without a pooler

    def run[Result](self, work: Callable[[Connection], Result]) -> Result:
        """Calls `work` and returns its result; calls it again, once, if the kept connection was dead.

        `work` must therefore be idempotent. To handle an error, it must use a transaction of its own:
        `connection.transaction()`.

        Raises:
            psycopg.OperationalError: PostgreSQL can't be reached, or the connection was lost.
            psycopg.Error: `work` raised it.
        """
        kept = self._connection
        try:
            return self._done(work)
        except psycopg.errors.ReadOnlySqlTransaction:
            self.close()  # connect again: after a failover another server may accept writes
            raise
        except psycopg.OperationalError:
            if kept is None or not kept.broken:
                raise
            return self._done(work)

    def run_confined[Result](self, work: Callable[[Connection], Result], seconds: int) -> Result:
        """Like `run`, in a read-only transaction with a time limit; undoes what `work` changed on the connection."""

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
        if current_url(self._source) != self._url:
            self.close()  # the session would survive, but the secret may name another role now
        if self._connection is None or self._connection.closed:
            connection, self._url = _logged_in(self._source, self._limits)
            self._settings = _settings(self._url, self._limits, self._options)
            has_pooler, is_settled = _probe(connection, self._settings | KEEPALIVES)
            if not is_settled:
                has_pooler = _apply(connection, self._settings | KEEPALIVES, spares_poolers=True)
            if has_pooler:
                connection.prepare_threshold = None  # prepared statements would stay on the pooler's connection
            self._beginning = (
                session_settings.begin_transaction({} if is_settled else self._settings) if has_pooler else None
            )
            self._connection = connection
        return self._connection

    def _restore(self, connection: Connection) -> None:
        """Undoes what a rollback leaves: committed settings and psycopg's factories."""
        connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor
        if connection.closed or self._beginning is not None:
            return
        if connection.info.transaction_status == TransactionStatus.IDLE:
            connection.execute(session_settings.reset_session(self._settings | KEEPALIVES))
        else:
            connection.close()

    def close(self) -> None:
        """Closes the connection, if any; `run` opens another one."""
        if self._connection is not None:
            self._connection.close()
