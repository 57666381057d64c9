"""The settings of PostgreSQL that the code relies on, made on every connection.

A database or a role may have been given settings by others (`ALTER DATABASE … SET`, `ALTER ROLE … SET`). They change
what texts look like, what statements mean and what is refused. Those that matter are therefore set on every connection,
by a statement: startup options would be refused by poolers like PgBouncer and RDS Proxy.
"""

import re
from collections.abc import Mapping

from psycopg import sql

REQUIRED_SETTINGS = {
    # What texts look like: those that are read, those that are written, and those that go to ClickHouse as they are.
    "client_encoding": "UTF8",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # What statements mean.
    "search_path": '"$user", public',
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # What transactions do: each statement sees what was committed before it, and what is committed is on the disk.
    # `default_transaction_read_only` stays: whoever makes a database read-only (a full disk, a move to another server)
    # wants nothing written to it, and events wait in the queue meanwhile.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    # A lock is waited for as long as a statement may take, unless a function's own options say less.
    "lock_timeout": "0",
    # The plans that statements are written for: by an index, for the values at hand, in the partitions that matter.
    "plan_cache_mode": "auto",
    "enable_indexscan": "on",
    "enable_nestloop": "on",
    "enable_partition_pruning": "on",
}

# Names are qualified because the search path may still be another's.
_HAS_POOLER = sql.SQL("pg_catalog.int4ne(pg_catalog.pg_backend_pid(), {process})")
_LOCAL, _OF_SESSION = sql.SQL("true"), sql.SQL("false")

_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=(\S+)")


def parse_options(options: str) -> dict[str, str]:
    """
    >>> parse_options("-c enable_sort=off --search_path=events,public")
    {'enable_sort': 'off', 'search_path': 'events,public'}
    """
    return dict(_OPTION.findall(options))


def with_required_settings(own: Mapping[str, str]) -> dict[str, str]:
    """The pins on top of what an address names as its own: tables may be in a schema that is found by that alone."""
    pins = dict(own) | REQUIRED_SETTINGS
    return pins | {"search_path": own.get("search_path", REQUIRED_SETTINGS["search_path"])}


def apply_settings(settings: Mapping[str, str], process: int, *, spares_poolers: bool) -> sql.Composed:
    """Makes settings for a session, in one round trip; the first column says whether a pooler serves it.

    A pooler tells each client a process id of its own making, not that of the server's process: with the latter, one
    client could cancel another's statements.

    Args:
        process: the id of the server's process, as the client was told it.
        spares_poolers: whether a pooler's connection, which serves others next, is left as it is.
    """
    has_pooler = _HAS_POOLER.format(process=sql.Literal(str(process)))
    calls = _calls(settings, is_local=has_pooler if spares_poolers else _OF_SESSION)
    return sql.SQL("SELECT {}, {}").format(has_pooler, calls)


def reset_session(settings: Mapping[str, str]) -> sql.Composed:
    """Undoes whatever was set in a session, and makes its settings anew."""
    return sql.SQL("RESET ALL; SELECT {}").format(_calls(settings, is_local=_OF_SESSION))


def begin_transaction(settings: Mapping[str, str]) -> sql.Composed:
    """Begins a transaction with settings of its own, in one round trip."""
    # The time limit counts from when it is set where none was running.
    calls = _calls({"transaction_timeout": "0"}, is_local=_LOCAL), _calls(settings, is_local=_LOCAL)
    return sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE; SELECT {}, {}").format(*calls)


def confine_transaction(seconds: int) -> sql.Composed:
    """Makes the open transaction a read-only one, which ends after so many seconds."""
    limit = f"{seconds}s"
    calls = (
        _calls({"transaction_timeout": "0"}, is_local=_LOCAL),
        _calls({"transaction_timeout": limit, "statement_timeout": limit}, is_local=_LOCAL),
    )
    return sql.SQL("SET TRANSACTION READ ONLY; SELECT {}, {}").format(*calls)


def _calls(settings: Mapping[str, str], *, is_local: sql.Composable) -> sql.Composed:
    call = sql.SQL("pg_catalog.set_config({}, {}, {})")
    return sql.SQL(", ").join(
        call.format(sql.Literal(name), sql.Literal(value), is_local) for name, value in settings.items()
    )
