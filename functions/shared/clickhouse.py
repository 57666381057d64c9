"""The connection to ClickHouse, and the settings without which it does not keep or show JSON as it came."""

import logging
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from urllib3.exceptions import MaxRetryError

TABLE = "ai_usage_events"

# A key may hold a dot: without this, {"a.b": 1} comes out as {"a": {"b": 1}}.
READ_SETTINGS = {"json_type_escape_dots_in_keys": 1}

# Paths of the payload that have files of their own in a part; all others share some. Ten rows with a thousand keys of
# their own would otherwise make a thousand files, which everybody's rows in the part would be written to and read from.
MAX_DYNAMIC_PATHS = 128

# Without these, "2026-11-20" becomes a date and [true, 2] becomes [1, 2].
INSERT_SETTINGS = READ_SETTINGS | {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    "throw_if_no_data_to_insert": 0,
    "async_insert": 0,  # what is confirmed is stored
    "max_dynamic_subcolumns_in_json_type_parsing": MAX_DYNAMIC_PATHS,
}

# What the client and what is below it log, they raise as well; and they log the values of queries.
for _name in ("clickhouse_connect", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

# Those that there is something to do about: src/Common/ErrorCodes.cpp has all.
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

# A copy of what is at a path that a definition declares. The payload's own paths are where there is room for them.
_COLUMN_PREFIX = "payload/"

_DECLARED = """
    SELECT name
    FROM system.columns
    WHERE database = currentDatabase() AND table = {table:String} AND startsWith(name, {prefix:String})
"""

_TARGET = re.compile(r"sync target ([0-9a-f-]{36})")
_MIGRATION = re.compile(r"sync target [0-9a-f-]{36}, migration ([0-9]+)")


def connect(url: str, timeout_seconds: float) -> Client:
    """A client of the server at `url`, like `clickhouse://user:password@host:8123/database`.

    Several threads may use it at once. Whatever else the URL's query holds is a setting of every statement.

    Args:
        timeout_seconds: how long one statement may take.

    Raises:
        ClickHouseError: it can't be reached.
    """
    return clickhouse_connect.get_client(
        dsn=url,
        secure=urlsplit(url).scheme in ("clickhouses", "https"),
        autogenerate_session_id=False,  # a session takes one statement at a time
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        send_receive_timeout=max(1, int(timeout_seconds)),
    )


def target_comment(target: UUID, migration: int = 1) -> str:
    """What the comment of the table says, so that `target_of` and `last_migration` find it."""
    return f"sync target {target}" + (f", migration {migration}" if migration > 1 else "")


def target_of(client: Client) -> UUID | None:
    """What identifies the table that is there now; None where there is none, or one that the sync has not marked."""
    found = _TARGET.search(_comment(client))
    return UUID(found[1]) if found else None


def last_migration(client: Client) -> int:
    """The number of the migration of the table that came last; 1 where the comment names none."""
    found = _MIGRATION.search(_comment(client))
    return int(found[1]) if found else 1


def _comment(client: Client) -> str:
    rows = client.query(_COMMENT, parameters={"name": TABLE}).result_rows
    return str(rows[0][0]) if rows else ""


def column_of(path: Sequence[str]) -> str:
    """The name of the column that has what is at a declared path; `job.id` is in `payload/job/id`.

    The keys of definitions are names, which hold neither a slash nor anything else that had to be quoted.
    """
    return _COLUMN_PREFIX + "/".join(path)


def declared_paths(client: Client) -> frozenset[tuple[str, ...]]:
    """The paths that the table has a column for; none where there is no table."""
    rows = client.query(_DECLARED, parameters={"table": TABLE, "prefix": _COLUMN_PREFIX}).result_rows
    return frozenset(tuple(name.removeprefix(_COLUMN_PREFIX).split("/")) for (name,) in rows)


def reason_of(error: Exception) -> str:
    """What went wrong, in one line and in our own words: ClickHouse quotes rows, and its client what was asked."""
    code = getattr(error, "code", None)
    if code is not None:
        return f"ClickHouse's error {code} ({CODES.get(code, 'see ErrorCodes.cpp')})"
    lost = list(_causes(error))
    addresses = [f"{one.pool.host}:{one.pool.port}" for one in lost if isinstance(one, MaxRetryError)]
    texts = [one.strerror or type(one).__name__ for one in lost if isinstance(one, OSError)]
    server = f"ClickHouse at {addresses[0]}" if addresses else "ClickHouse"
    return f"{server} does not answer: {(texts or [type(lost[-1]).__name__])[-1]}"


def message_of(error: Exception) -> str:
    """What ClickHouse says of a row that it refuses: for `rejected_events`, which hold the row; not for logs."""
    return " ".join(str(error).partition("\nRow ")[0].split())[:_MAX_REASON_CHARACTERS]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
