"""Creates the ClickHouse table and inserts rows."""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared.clickhouse import INSERT_SETTINGS, TABLE, message_of, reason_of, target_of
from functions.sync import migrations
from functions.sync.blocks import SeparatedRows
from functions.sync.chunks import COLUMNS

# Merges remove duplicate rows; removing them on insert takes a third of the insert's time. Concurrent chunks keep the
# processors busy with less overhead than parallel parsing of one chunk.
_SPEED_SETTINGS = {"optimize_on_insert": 0, "input_format_parallel_parsing": 0}

# One insert becomes one block, and thus one part for each month, so that readers see all its rows of a month at once.
_MAX_ROWS = 1_000_000_000
ONE_BLOCK_SETTINGS = {
    "max_insert_block_size": _MAX_ROWS,
    "min_insert_block_size_rows": _MAX_ROWS,
    "min_insert_block_size_bytes": 0,
}

# Error codes for values or rows that ClickHouse can't store; ClickHouse's src/Common/ErrorCodes.cpp defines them.
_REFUSALS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        306,  # TOO_DEEP_RECURSION
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        632,  # UNEXPECTED_DATA_AFTER_PARSED_VALUE
    }
)


class RowRefused(Exception):
    """ClickHouse refused a row or value of an insert.

    Args:
        message: ClickHouse's message, which may quote the row.
        reason: description that may be logged.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(reason)
        self.message = message
        self.reason = reason


def ensure_table(client: Client, cluster: str | None, declared: Iterable[migrations.PayloadPath] = ()) -> UUID:
    """Creates the table if it is missing, applies migrations, and returns the table's id.

    Args:
        declared: payload paths that get a column each.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    target = target_of(client) or _create_table(client, cluster)
    migrations.migrate(client, cluster, target)
    migrations.add_declared(client, cluster, declared)
    return target


def definition(cluster: str | None, target: UUID) -> str:
    """Returns the statement that creates the table; with a cluster, on each of its servers and replicated."""
    return migrations.definition(cluster, target)


def _create_table(client: Client, cluster: str | None) -> UUID:
    new = uuid4()
    client.command(definition(cluster, new))
    target = target_of(client)
    if target is None:
        migrations.record(client, cluster, new, 1)  # the table was created by hand, without the comment
    return target or new  # another process may have created the table first


def insert(client: Client, slices: Iterable[bytes]) -> None:
    """Inserts rows in the format TabSeparated, a few per slice; repeatable after an error.

    Raises:
        RowRefused: ClickHouse refused a row.
        ClickHouseError: any other error.
    """
    separated = SeparatedRows()
    try:
        _insert(client, separated.without_large_integers(slices))
        for block in separated.blocks():
            _insert(client, iter([block]))
    except ClickHouseError as error:
        if getattr(error, "code", None) in _REFUSALS:
            raise RowRefused(message_of(error), reason_of(error)) from error
        raise


def _insert(client: Client, block: Iterator[bytes]) -> None:
    # Each insert has a unique token: without one, a replicated table takes rows that are sent again after a loss for
    # duplicates and drops them.
    settings = INSERT_SETTINGS | _SPEED_SETTINGS | ONE_BLOCK_SETTINGS | {"insert_deduplication_token": str(uuid4())}
    client.raw_insert(TABLE, COLUMNS, (rows for rows in block), settings=settings, fmt="TabSeparated")
