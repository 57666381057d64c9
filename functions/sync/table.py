"""The table in ClickHouse: made where it is missing, and what goes into it."""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared import event_columns
from functions.shared.clickhouse import INSERT_SETTINGS, TABLE, message_of, reason_of, target_of
from functions.sync import migrations
from functions.sync.blocks import SeparatedRows

# Rows that are there twice go when parts are merged; to look for them at each insert takes a third of its time.
# Two chunks at once keep two cores busy with less ado than one chunk that is parsed in parallel.
_SPEED_SETTINGS = {"optimize_on_insert": 0, "input_format_parallel_parsing": 0}

# What ClickHouse says of a value or row that it can't take: its numbers are in src/Common/ErrorCodes.cpp.
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
    """ClickHouse can't take a row or value among those that were sent.

    Args:
        message: what ClickHouse says, which may quote the row.
        reason: the same in words that may be logged.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(reason)
        self.message = message
        self.reason = reason


def ensure_table(client: Client, cluster: str | None, declared: Iterable[migrations.PayloadPath] = ()) -> UUID:
    """Makes the table if it is missing, brings it up to date, and returns what identifies it.

    Args:
        declared: the paths in payloads that definitions name, each of which gets a column.

    Raises:
        ClickHouseError: ClickHouse did not answer, or refused.
    """
    target = target_of(client) or _made(client, cluster)
    migrations.migrate(client, cluster, target)
    migrations.add_declared(client, cluster, target, declared)
    return target


def definition(cluster: str | None, target: UUID) -> str:
    """The statement that makes the table; on a cluster it makes it on every server, replicated."""
    return (migrations.FOLDER / "ai_usage_events.sql").read_text().format(**migrations.parts(cluster, target))


def _made(client: Client, cluster: str | None) -> UUID:
    new = uuid4()
    client.command(definition(cluster, new))
    target = target_of(client)
    if target is None:
        migrations.record(client, cluster, new, 1)  # made by hand, without our comment
    elif target == new:
        migrations.record(client, cluster, new, migrations.NEWEST)
    return target or new  # another's, if one made it meanwhile


def insert(client: Client, slices: Iterable[bytes]) -> None:
    """Inserts rows in the format TabSeparated, some in each slice; after an error they may be sent again.

    Raises:
        RowRefused: ClickHouse can't take one of them.
        ClickHouseError: it is anything else that went wrong.
    """
    separated = SeparatedRows()
    try:
        _insert(client, separated.passing(slices))
        for block in separated.blocks():
            _insert(client, iter([block]))
    except ClickHouseError as error:
        if getattr(error, "code", None) in _REFUSALS:
            raise RowRefused(message_of(error), reason_of(error)) from error
        raise


def _insert(client: Client, block: Iterator[bytes]) -> None:
    # A token of its own: a replicated table would else take rows that are sent again for those that it had, and lost.
    settings = INSERT_SETTINGS | _SPEED_SETTINGS | {"insert_deduplication_token": str(uuid4())}
    client.raw_insert(TABLE, event_columns.NAMES, (rows for rows in block), settings=settings, fmt="TabSeparated")
