"""Connects to ClickHouse, with the settings that keep JSON unchanged when written and read."""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.query import QueryResult
from urllib3.exceptions import MaxRetryError

from functions.shared.secret import UrlSource, changed_url, current_url

TABLE = "ai_usage_events"

# Keys may contain dots: without this setting, {"a.b": 1} is read as {"a": {"b": 1}}.
READ_SETTINGS = {"json_type_escape_dots_in_keys": 1}

# Number of payload paths that get their own files in a part; all other paths share files. Without a limit, ten rows
# with a thousand distinct keys would create a thousand files, which slows down every row in the part.
MAX_DYNAMIC_PATHS = 128

# Without these settings, "2026-11-20" becomes a date and [true, 2] becomes [1, 2].
INSERT_SETTINGS = READ_SETTINGS | {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    "throw_if_no_data_to_insert": 0,
    "async_insert": 0,  # ClickHouse confirms an insert only once it is stored
    "max_dynamic_subcolumns_in_json_type_parsing": MAX_DYNAMIC_PATHS,
}

# The client and urllib3 log errors that they also raise, and their logs contain the values of queries.
for _name in ("clickhouse_connect", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

# Error codes worth naming in a log; src/Common/ErrorCodes.cpp of ClickHouse lists all of them.
CODES = {
    6: "CANNOT_PARSE_TEXT",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    47: "UNKNOWN_IDENTIFIER",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    117: "INCORRECT_DATA",
    131: "TOO_LARGE_STRING_SIZE",
    159: "TIMEOUT_EXCEEDED",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    285: "TOO_FEW_LIVE_REPLICAS",
    306: "TOO_DEEP_RECURSION",
    319: "UNKNOWN_STATUS_OF_INSERT",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    386: "NO_COMMON_TYPE",
    396: "TOO_MANY_ROWS_OR_BYTES",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    632: "UNEXPECTED_DATA_AFTER_PARSED_VALUE",
}

_CONNECT_TIMEOUT_SECONDS = 5
_MAX_REASON_CHARACTERS = 500

_COMMENT = """
    SELECT comment
    FROM system.tables
    WHERE database = currentDatabase() AND name = {name:String}
"""

_ENGINE = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"

_TTL_MONTHS = re.compile(r" TTL toDate\(timestamp\) \+ toIntervalMonth\(([0-9]+)\)")

# Columns with this prefix hold copies of the values at declared paths, outside the payload's limited number of paths.
_COLUMN_PREFIX = "payload/"

_COLUMNS = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"

VERSIONS_MIGRATION = 3
"""The first migration after which the table has what readers and the sync need."""

_COPIED_MONTH = re.compile(r"history copied up to ([0-9]{6})")

_TARGET = re.compile(r"sync target ([0-9a-f-]{36})")
_MIGRATION = re.compile(r"sync target [0-9a-f-]{36}, migration ([0-9]+)")


_LOGIN_REFUSED = 516


class Reader(Protocol):
    """What statements that read can be run on."""

    def query(
        self, query: str | None = None, parameters: Any = None, settings: dict[str, Any] | None = None
    ) -> QueryResult:
        """Runs a statement, and returns its rows."""
        ...


def connect(source: UrlSource, timeout_seconds: float) -> Client:
    """Connects to the server at a URL, for example `clickhouse://user:password@host:8123/database`.

    Several threads may share the client. Query parameters of the URL become settings of every statement.

    Args:
        source: the URL, or the secret that holds it. The secret is read again if the login fails.
        timeout_seconds: time limit of one statement.

    Raises:
        ClickHouseError: the server can't be reached.
    """
    url = current_url(source)
    try:
        return _connected(url, timeout_seconds)
    except ClickHouseError as error:
        changed = changed_url(source, url) if _is_login_refused(error) else None
        if changed is None:
            raise
        return _connected(changed, timeout_seconds)


def _connected(url: str, timeout_seconds: float) -> Client:
    return clickhouse_connect.get_client(
        dsn=url,
        secure=urlsplit(url).scheme in ("clickhouses", "https"),
        autogenerate_session_id=False,  # a session runs only one statement at a time
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        send_receive_timeout=max(1, int(timeout_seconds)),
    )


def _is_login_refused(error: ClickHouseError) -> bool:
    return getattr(error, "code", None) == _LOGIN_REFUSED


class KeptReader:
    """Reads on a client that is kept between invocations, and replaced when its password was rotated."""

    def __init__(self, source: UrlSource, timeout_seconds: float) -> None:
        self._source, self._timeout_seconds = source, timeout_seconds
        self._url: str | None = None  # of the client
        self._client: Client | None = None

    def query(
        self, query: str | None = None, parameters: Any = None, settings: dict[str, Any] | None = None
    ) -> QueryResult:
        """Runs a statement, once more if the login fails and the secret has changed.

        Raises:
            ClickHouseError: the server can't be reached, or refuses the statement.
        """
        client = self._open()
        try:
            return client.query(query, parameters=parameters, settings=settings)
        except ClickHouseError as error:
            if not _is_login_refused(error) or changed_url(self._source, self._url or "") is None:
                raise
        return self._open().query(query, parameters=parameters, settings=settings)

    def _open(self) -> Client:
        url = current_url(self._source)
        if self._client is None or url != self._url:
            client = connect(self._source, self._timeout_seconds)
            self.close()
            self._client, self._url = client, current_url(self._source)
        return self._client

    def close(self) -> None:
        """Closes the client, if any; `query` opens another one."""
        if self._client is not None:
            self._client.close()
        self._client = None


def target_comment(target: UUID, migration: int = 1, copied_month: int | None = None) -> str:
    """Returns the table comment that `target_of`, `last_migration` and `copied_month` read."""
    return (
        f"sync target {target}"
        + (f", migration {migration}" if migration > 1 else "")
        + (f", history copied up to {copied_month}" if copied_month else "")
    )


def target_of(client: Reader, table: str = TABLE) -> UUID | None:
    """Returns the id in the table's comment; None if the table is missing or has no such comment."""
    found = _TARGET.search(_comment(client, table))
    return UUID(found[1]) if found else None


def readable_target_of(client: Reader) -> UUID | None:
    """Returns the id in the table's comment; None if there is no table with versions and all columns of events."""
    comment = _comment(client, TABLE)
    target, migration = _TARGET.search(comment), _MIGRATION.search(comment)
    has_versions = migration is not None and int(migration[1]) >= VERSIONS_MIGRATION
    return UUID(target[1]) if target and has_versions else None


def last_migration(client: Reader) -> int:
    """Returns the number of the newest applied migration; 1 if the table's comment has none."""
    found = _MIGRATION.search(_comment(client, TABLE))
    return int(found[1]) if found else 1


def copied_month(client: Reader, table: str) -> int:
    """Returns the last month of history that a table made anew has, like 202511; 0 if it has none."""
    found = _COPIED_MONTH.search(_comment(client, table))
    return int(found[1]) if found else 0


def columns_of(client: Reader, table: str) -> frozenset[str]:
    """Returns the names of the table's columns; empty if there is no table."""
    return frozenset(name for (name,) in client.query(_COLUMNS, parameters={"table": table}).result_rows)


def ttl_months(client: Reader) -> int | None:
    """Returns for how many months the table keeps events; None for ever."""
    rows = client.query(_ENGINE, parameters={"name": TABLE}).result_rows
    found = _TTL_MONTHS.search(rows[0][0]) if rows else None
    return int(found[1]) if found else None


def _comment(client: Reader, table: str) -> str:
    rows = client.query(_COMMENT, parameters={"name": table}).result_rows
    return str(rows[0][0]) if rows else ""


def column_of(path: Sequence[str]) -> str:
    """Returns the name of the column for a declared path, for example `payload/job/id` for `job.id`.

    Keys in definitions are plain names without slashes, so they need no quoting.
    """
    return _COLUMN_PREFIX + "/".join(path)


def declared_paths(client: Reader, table: str = TABLE) -> frozenset[tuple[str, ...]]:
    """Returns the declared paths that have a column; empty if there is no table."""
    names = columns_of(client, table)
    return frozenset(
        tuple(name.removeprefix(_COLUMN_PREFIX).split("/")) for name in names if name.startswith(_COLUMN_PREFIX)
    )


def reason_of(error: Exception) -> str:
    """Describes an error in one line without ClickHouse's own text, which may quote rows and queries."""
    code = getattr(error, "code", None)
    if code is not None:
        return f"ClickHouse's error {code} ({CODES.get(code, 'see ErrorCodes.cpp')})"
    lost = list(_causes(error))
    addresses = [f"{one.pool.host}:{one.pool.port}" for one in lost if isinstance(one, MaxRetryError)]
    texts = [one.strerror or type(one).__name__ for one in lost if isinstance(one, OSError)]
    server = f"ClickHouse at {addresses[0]}" if addresses else "ClickHouse"
    return f"{server} does not answer: {(texts or [type(lost[-1]).__name__])[-1]}"


def message_of(error: Exception) -> str:
    """Returns ClickHouse's own message, which may quote a row: for `rejected_events`, never for logs."""
    return " ".join(str(error).partition("\nRow ")[0].split())[:_MAX_REASON_CHARACTERS]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
