"""Whether ClickHouse has every row of a monthly table, whatever the sync's cursor says."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.errors import QueryCanceled

from functions.retention.month_ids import MAX_NAMED_IDS, MonthIds, RowsInUse
from functions.retention.monthly_tables import MonthlyTable
from functions.shared.clickhouse import reason_of
from functions.shared.partitions import later_month
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition

MAX_IDS_AT_ONCE = 500_000
"""The ids of so many rows are compared by one statement; of more only if one bucket has more."""

_TIMEOUT_EXCEEDED = 159  # in ClickHouse's src/Common/ErrorCodes.cpp

_IN_USE = "others use some of these rows"

_OUT_OF_TIME = "the time was over before it was compared with ClickHouse"


class Missing(msgspec.Struct):
    """Rows of a table that are neither in ClickHouse, nor refused by it, nor older than what it keeps.

    Attributes:
        ids: some of theirs.
        failure: why it is not known whether there are more; empty otherwise.
    """

    rows: int = 0
    ids: list[str] = []
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What compares monthly tables with ClickHouse.

    Attributes:
        clickhouse_months: for how many months ClickHouse keeps events; None for ever.
        today: in UTC.
        deadline: when comparing has to end, on the monotonic clock.
    """

    connection: Connection
    client: Client
    clickhouse_months: int | None
    today: date
    deadline: float

    def missing_rows(self, table: MonthlyTable, cursor: SyncPosition, *, put_back: bool) -> Missing:
        """Looks for rows of the table that ClickHouse should have and lacks.

        Sums of all ids are compared first. The ids themselves are compared only where the sums differ, as they also do
        where ClickHouse has rows that PostgreSQL lacks, or has refused some.

        Args:
            cursor: up to where the sync has copied the table's rows.
            put_back: put the missing rows before the sync once more. The table must have been attached in an earlier
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
        except ClickHouseError as error:
            out_of_time = getattr(error, "code", None) == _TIMEOUT_EXCEEDED
            missing.failure = _OUT_OF_TIME if out_of_time else f"ClickHouse can't be asked: {reason_of(error)}"
        return missing


def first_kept_day(month: date, clickhouse_months: int | None, today: date) -> date | None:
    """The first day of the month that ClickHouse still keeps; None where it keeps none of them.

    As the table's TTL says it: a day is kept until the day of so many months later begins, or the last day of that
    month if it is shorter.
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
    """The buckets in which PostgreSQL has other ids than ClickHouse, as many together as may be compared at once."""
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
