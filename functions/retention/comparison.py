"""Checks that ClickHouse has every row of a monthly table, independently of the sync cursor."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.errors import QueryCanceled

from functions.retention.month_ids import MAX_NAMED_IDS, MonthIds, RowsInUse, RowsMoving
from functions.retention.monthly_tables import MonthlyTable
from functions.shared.clickhouse import reason_of
from functions.shared.partitions import later_month
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition

MAX_IDS_AT_ONCE = 500_000
"""One statement compares the ids of at most this many rows, unless a single bucket has more."""

_TIMEOUT_EXCEEDED = 159  # from ClickHouse's src/Common/ErrorCodes.cpp

_IN_USE = "other transactions use some of its rows"

_MOVING = "namespaces have moved, and their events have not yet"

_OUT_OF_TIME = "no time was left to compare it with ClickHouse"


class Missing(msgspec.Struct):
    """Rows of a table that ClickHouse should have and lacks: it did not refuse them, and still keeps their days.

    Attributes:
        ids: some of the rows' ids.
        failure: why more rows may be missing; empty if the comparison is complete.
    """

    rows: int = 0
    ids: list[str] = []
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares monthly tables with ClickHouse.

    Attributes:
        clickhouse_months: number of months that ClickHouse keeps; None for ever.
        today: current day in UTC.
        deadline: end of the comparison, on the monotonic clock.
    """

    connection: Connection
    client: Client
    clickhouse_months: int | None
    today: date
    deadline: float

    def missing_rows(self, table: MonthlyTable, cursor: SyncPosition, *, put_back: bool) -> Missing:
        """Finds rows of the table that ClickHouse should have and lacks.

        Compares sums of all ids first, and single ids only where the sums differ. The sums also differ if ClickHouse
        has rows that PostgreSQL lacks, or refused some rows.

        Args:
            cursor: sync cursor up to which the table's rows were copied.
            put_back: make the sync copy the missing rows again. The table must have been attached in an earlier
                    transaction.
        """
        missing = Missing()
        start = first_kept_day(table.month, self.clickhouse_months, self.today)
        if start is None:
            return missing
        end = later_month(table.month, 1)
        month = MonthIds(self.connection, self.client, table.name, start, end, cursor, self.deadline)
        try:
            for buckets in _differing(month):
                present = month.clickhouse_ids(buckets)
                count, ids = month.find_missing(buckets, present)
                missing.rows += count
                missing.ids = (missing.ids + ids)[:MAX_NAMED_IDS]
                if count and put_back:
                    month.put_back(buckets, present)
        except (TimeoutError, QueryCanceled):
            missing.failure = _OUT_OF_TIME
        except RowsInUse:
            missing.failure = _IN_USE
        except RowsMoving:
            missing.failure = _MOVING
        except ClickHouseError as error:
            out_of_time = getattr(error, "code", None) == _TIMEOUT_EXCEEDED
            missing.failure = _OUT_OF_TIME if out_of_time else f"ClickHouse can't be queried: {reason_of(error)}"
        return missing


def first_kept_day(month: date, clickhouse_months: int | None, today: date) -> date | None:
    """Returns the first day of the month that ClickHouse still keeps; None if it keeps no day of the month.

    Follows the TTL of the table: a day is kept until the same day `clickhouse_months` months later begins, or the last
    day of that month if the month is shorter.
    """
    if clickhouse_months is None:
        return month
    end = later_month(month, clickhouse_months)
    last = monthrange(end.year, end.month)[1]
    for day in range(1, monthrange(month.year, month.month)[1] + 1):
        if end.replace(day=min(day, last)) > today:
            return month.replace(day=day)
    return None


def _differing(month: MonthIds) -> Iterator[list[int]]:
    """Yields groups of buckets whose ids differ between the stores, each group small enough for one comparison."""
    postgres = month.postgres_sums()
    clickhouse = month.clickhouse_sums() if postgres else {}
    together, rows = list[int](), 0
    for bucket, sums in postgres.items():
        there = clickhouse.get(bucket, (0, 0))
        if sums == there:
            continue
        larger = max(sums[0], there[0])
        if together and rows + larger > MAX_IDS_AT_ONCE:
            yield together
            together, rows = [], 0
        together.append(bucket)
        rows += larger
    if together:
        yield together
