"""The connection to ClickHouse, and the settings without which it does not keep or show JSON as it came."""

import re
from urllib.parse import urlsplit
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver.client import Client

TABLE = "ai_usage_events"

# A key may hold a dot: without this, {"a.b": 1} comes out as {"a": {"b": 1}}.
READ_SETTINGS = {"json_type_escape_dots_in_keys": 1}

# Without these, "2026-11-20" becomes a date and [true, 2] becomes [1, 2].
INSERT_SETTINGS = READ_SETTINGS | {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    "throw_if_no_data_to_insert": 0,
    "async_insert": 0,  # what is confirmed is stored
}

_CONNECT_TIMEOUT_SECONDS = 5
_LONGEST_REASON = 500

_COMMENT = """
    SELECT comment
    FROM system.tables
    WHERE database = currentDatabase() AND name = {name:String}
"""

_TARGET = re.compile(r"sync target ([0-9a-f-]{36})")


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


def target_comment(target: UUID) -> str:
    """What the comment of the table says, so that `target_of` finds it."""
    return f"sync target {target}"


def target_of(client: Client) -> UUID | None:
    """What identifies the table that is there now; None where there is none, or one that the sync has not marked."""
    rows = client.query(_COMMENT, parameters={"name": TABLE}).result_rows
    found = _TARGET.search(rows[0][0]) if rows else None
    return UUID(found[1]) if found else None


def reason_of(error: Exception) -> str:
    """What went wrong, in one line and without the rows that ClickHouse quotes."""
    return " ".join(str(error).partition("\nRow ")[0].split())[:_LONGEST_REASON]
