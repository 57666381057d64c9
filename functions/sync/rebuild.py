"""Migration 3 of the ClickHouse table: makes the table anew with versions, because its engine can't be altered.

A new table is made beside the table. It gets the events of the months that PostgreSQL no longer has, some hours in a
statement, and then takes the table's name. It has its own id, so the sync backfills the other months from PostgreSQL,
without what was updated or deleted there unseen. Once the sync has caught up, the former table is dropped.

Each step can be repeated: the comment of the new table records the last month that was copied, and of the month after
it, only hours with other counts in the two tables are copied. While the table is made anew, no cursor is known, so
that readers use PostgreSQL and the retention drops no rows.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared.clickhouse import (
    READ_SETTINGS,
    TABLE,
    VERSIONS_MIGRATION,
    columns_of,
    copied_month,
    declared_paths,
    target_of,
)
from functions.shared.partitions import partitions
from functions.shared.postgres import Connection
from functions.sync import migrations
from functions.sync.durability import make_durable
from functions.sync.migrations import PayloadPath

OTHER_TABLE = "ai_usage_events_rebuilt"
"""Name of the new table until it takes the table's name, and then of the former one until it is dropped."""

_HOUR_SECONDS = 3600

MAX_ROWS_AT_ONCE = 2_000_000
"""One statement copies at most this many rows, unless a single hour has more."""

_NOT_IMPLEMENTED = 48  # from ClickHouse's src/Common/ErrorCodes.cpp

_FORGET_CURSOR = "DELETE FROM sync_state WHERE target = %s"

_MONTHS = """
    SELECT DISTINCT toYYYYMM(timestamp) AS month
    FROM ai_usage_events
    WHERE month > {copied:UInt32}
    ORDER BY month
"""

_HOURS = """
    SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS hour, count()
    FROM {table} FINAL
    WHERE toYYYYMM(timestamp) = {{month:UInt32}}
    GROUP BY hour
    ORDER BY hour
"""

_EXCHANGE = f"EXCHANGE TABLES {OTHER_TABLE} AND {TABLE} {{on_cluster}}"

_RENAMED_TABLE = f"{OTHER_TABLE}_former"

_RENAME = f"RENAME TABLE {TABLE} TO {_RENAMED_TABLE}, {OTHER_TABLE} TO {TABLE} {{on_cluster}}"

_FINISH_RENAME = f"RENAME TABLE {OTHER_TABLE} TO {TABLE} {{on_cluster}}"

_BESIDE = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}"

_DROP = "DROP TABLE IF EXISTS {table} {on_cluster} SYNC"

# A server may refuse to drop a large table.
_DROP_SETTINGS = {"max_table_size_to_drop": 0}


class Progress(msgspec.Struct, frozen=True):
    """How far the new table is filled.

    Attributes:
        month: the month that is copied, like 202511.
        rows: number of rows that this run has copied.
    """

    month: int
    rows: int

    def __str__(self) -> str:
        month = f"{self.month // 100}-{self.month % 100:02}"
        return f"the table in ClickHouse is made anew: copying the history of {month}"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Makes the table of a client anew. Only the holder of the sync's lock may do so.

    Attributes:
        declared: payload paths that get a column each, beside those that have one.
        deadline: end of this run, on the monotonic clock; the next run continues.
        progress: called after each statement that has copied rows.
    """

    client: Client
    control: Connection
    cluster: str | None
    declared: Iterable[PayloadPath]
    durable: bool
    deadline: float
    progress: Callable[[Progress], None]

    def run(self) -> bool:
        """Returns whether the new table has taken the table's name; False if the deadline has passed before.

        Raises:
            ClickHouseError: a statement failed; the next run repeats it.
        """
        former = target_of(self.client)
        if former is not None:
            self.control.execute(_FORGET_CURSOR, [str(former)])
        new = target_of(self.client, OTHER_TABLE) or self._create()
        make_durable(self.client, durable=self.durable, table=OTHER_TABLE)
        rows = 0
        for month in self._months():
            for start, end, count in self._steps(month):
                if time.monotonic() >= self.deadline:
                    return False
                self._copy(start, end)
                rows += count
                self.progress(Progress(month, rows))
            self._record(new, month)
        self._take_name(new)
        return True

    def _create(self) -> UUID:
        new = uuid4()
        self.client.command(migrations.definition(self.cluster, new, OTHER_TABLE))
        paths = {*self.declared, *declared_paths(self.client)}
        migrations.add_declared(self.client, self.cluster, paths, OTHER_TABLE)
        return new

    def _months(self) -> list[int]:
        """Returns the months that only ClickHouse has, and that are not copied yet."""
        in_postgres = {int(name[-6:]) for name in partitions(self.control)}
        values = {"copied": copied_month(self.client, OTHER_TABLE)}
        rows = self.client.query(_MONTHS, parameters=values).result_rows
        return [month for (month,) in rows if month not in in_postgres]

    def _steps(self, month: int) -> Iterator[tuple[int, int, int]]:
        """Yields the start, the end and the number of rows of what has to be copied together."""
        copied = dict(self._hours(OTHER_TABLE, month))
        hours, rows = list[int](), 0
        for hour, count in self._hours(TABLE, month):
            if copied.get(hour) == count:
                continue
            if hours and rows + count > MAX_ROWS_AT_ONCE:
                yield hours[0], hours[-1] + _HOUR_SECONDS, rows
                hours, rows = [], 0
            hours.append(hour)
            rows += count
        if hours:
            yield hours[0], hours[-1] + _HOUR_SECONDS, rows

    def _hours(self, table: str, month: int) -> list[tuple[int, int]]:
        rows = self.client.query(_HOURS.format(table=table), parameters={"month": month}).result_rows
        return [(hour, count) for hour, count in rows]

    def _copy(self, start: int, end: int) -> None:
        statement = (migrations.FOLDER / "0003_versions.sql").read_text().format(new=OTHER_TABLE)
        # A replicated table would drop a block that is inserted again after a loss.
        settings = READ_SETTINGS | {"insert_deduplicate": 0}
        self.client.command(statement, parameters={"start": start, "end": end}, settings=settings)

    def _record(self, new: UUID, copied: int | None = None) -> None:
        migrations.record(self.client, self.cluster, new, VERSIONS_MIGRATION - 1, OTHER_TABLE, copied)

    def _take_name(self, new: UUID) -> None:
        self._record(new)
        on_cluster = migrations.on_cluster(self.cluster)
        try:
            self.client.command(_EXCHANGE.format(on_cluster=on_cluster))
        except ClickHouseError as error:
            if getattr(error, "code", None) != _NOT_IMPLEMENTED:
                raise
            self.client.command(_RENAME.format(on_cluster=on_cluster))


def is_needed(client: Client) -> bool:
    """Whether the table exists without versions."""
    columns = columns_of(client, TABLE)
    return bool(columns) and "version" not in columns


def is_under_way(client: Client) -> bool:
    """Whether the table is to be made anew, or a table beside it still holds events that were stored before."""
    return is_needed(client) or bool(_tables_beside(client))


def finish_rename(client: Client, cluster: str | None) -> None:
    """Gives the new table the table's name, if a rename that is not atomic was interrupted."""
    if not columns_of(client, TABLE) and "version" in columns_of(client, OTHER_TABLE):
        client.command(_FINISH_RENAME.format(on_cluster=migrations.on_cluster(cluster)))


def drop_former(client: Client, cluster: str | None) -> None:
    """Drops the former table, once the new one has everything."""
    for table in _tables_beside(client):
        client.command(_DROP.format(table=table, on_cluster=migrations.on_cluster(cluster)), settings=_DROP_SETTINGS)


def _tables_beside(client: Client) -> list[str]:
    rows = client.query(_BESIDE, parameters={"names": [OTHER_TABLE, _RENAMED_TABLE]}).result_rows
    return [name for (name,) in rows]
