"""Session settings of PostgreSQL that the code relies on, applied to every connection.

A database or a role may have other settings (`ALTER DATABASE … SET`, `ALTER ROLE … SET`), which change how values are
formatted, what statements mean and what is refused. Each connection therefore sets the settings below by a statement:
poolers like PgBouncer and RDS Proxy refuse startup options.
"""

import re
from collections.abc import Mapping

from psycopg import sql

REQUIRED_SETTINGS = {
    # Format of values that are read, written, or copied to ClickHouse unchanged.
    "client_encoding": "UTF8",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # Meaning of statements.
    "search_path": '"$user", public',
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # Transactions: each statement sees what was committed before it, and a commit is on the disk.
    # `default_transaction_read_only` is left alone: whoever makes a database read-only (a full disk, a move to another
    # server) wants nothing written, and events wait in the queue meanwhile.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    # A lock may be awaited as long as a statement may take, unless a function's own options set a shorter time.
    "lock_timeout": "0",
    # Query plans that the statements are written for: by index, for the given values, in the matching partitions.
    "plan_cache_mode": "auto",
    "enable_indexscan": "on",
    "enable_nestloop": "on",
    "enable_partition_pruning": "on",
}

# Names are qualified because another search path may still be active.
_HAS_POOLER = sql.SQL("pg_catalog.int4ne(pg_catalog.pg_backend_pid(), {process})")
_BEGIN = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE")
_LOCAL, _OF_SESSION = sql.SQL("true"), sql.SQL("false")

_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=(\S+)")


def parse_options(options: str) -> dict[str, str]:
    """Parses startup options of PostgreSQL.

    >>> parse_options("-c enable_sort=off --search_path=events,public")
    {'enable_sort': 'off', 'search_path': 'events,public'}
    """
    return dict(_OPTION.findall(options))


def with_required_settings(own: Mapping[str, str]) -> dict[str, str]:
    """Adds the required settings to those of a connection URL, whose `search_path` wins."""
    settings = dict(own) | REQUIRED_SETTINGS
    return settings | {"search_path": own.get("search_path", REQUIRED_SETTINGS["search_path"])}


def apply_settings(settings: Mapping[str, str], process: int, *, spares_poolers: bool) -> sql.Composed:
    """Returns the statement that applies settings to a session; its first column says whether a pooler is in between.

    A pooler reports a process id of its own to each client instead of the server's, since one client could otherwise
    cancel another's statements.

    Args:
        process: the server's process id as reported to the client.
        spares_poolers: whether a pooler's connection, which will serve other clients, stays unchanged.
    """
    has_pooler = _HAS_POOLER.format(process=sql.Literal(str(process)))
    calls = _calls(settings, is_local=has_pooler if spares_poolers else _OF_SESSION)
    return sql.SQL("SELECT {}, {}").format(has_pooler, calls)


def has_settings(settings: Mapping[str, str], process: int) -> sql.Composed:
    """Returns the statement that asks whether a pooler is in between, and whether a session has these settings already.

    A role may have them (`ALTER ROLE … SET`). Then nothing has to be set, and RDS Proxy can share the connection: it
    dedicates one to a client that sets something.

    Args:
        settings: a value counts as another one if PostgreSQL shows it in another way, like 60s, which it shows as 1min.
        process: the server's process id as reported to the client.
    """
    equal = sql.SQL("pg_catalog.current_setting({}) OPERATOR(pg_catalog.=) {}")
    all_equal = sql.SQL(" AND ").join(
        equal.format(sql.Literal(name), sql.Literal(one)) for name, one in settings.items()
    )
    return sql.SQL("SELECT {}, {}").format(_HAS_POOLER.format(process=sql.Literal(str(process))), all_equal)


def reset_session(settings: Mapping[str, str]) -> sql.Composed:
    """Returns the statements that reset a session and apply its settings again."""
    return sql.SQL("RESET ALL; SELECT {}").format(_calls(settings, is_local=_OF_SESSION))


def begin_transaction(settings: Mapping[str, str]) -> sql.Composed:
    """Returns the statements that begin a transaction with settings of its own, in one round trip."""
    if not settings:
        return sql.Composed([_BEGIN])
    # The time limit starts when it is set, unless one is already running.
    calls = _calls({"transaction_timeout": "0"}, is_local=_LOCAL), _calls(settings, is_local=_LOCAL)
    return sql.SQL("{}; SELECT {}, {}").format(_BEGIN, *calls)


def confine_transaction(seconds: int) -> sql.Composed:
    """Returns the statements that make the open transaction read-only and limit its time."""
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
