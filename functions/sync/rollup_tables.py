"""Makes the tables of rollups in ClickHouse, fills them, and removes rows of builds that do not count."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

import msgspec
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared import canary
from functions.shared.clickhouse import READ_SETTINGS, TABLE, columns_of, declared_paths
from functions.shared.rollup import TOTALS, USERS, WHOLE, RollupMeasure
from functions.sync import migrations
from functions.sync.table import ONE_BLOCK_SETTINGS

TABLES = (TOTALS, USERS)

_ADD_COLUMNS = "ALTER TABLE {table} {on_cluster} {columns}"
_ADD_COLUMN = "ADD COLUMN IF NOT EXISTS {column} {column_type}"

# A namespace has the events whose paths begin with its own: each text up to a slash is the path of one.
_SCOPES = """
    arrayConcat(
        [('', toUInt64(0))],
        arrayMap(
            parts -> (concat(arrayStringConcat(arraySlice(splitByChar('/', namespace_path), 1, parts), '/'), '/'),
                      toUInt64(0)),
            range(1, length(splitByChar('/', namespace_path)))
        ),
        if(project_id = 0, [], [(namespace_path, project_id)])
    )
"""

_BUILD_OF_DAY = "transform(toDate32(timestamp), {days:Array(Date32)}, {builds:Array(UInt64)}, toUInt64(0))"

# All rows with one key have one timestamp and event, so that PREWHERE may select these before FINAL.
_EVENTS_OF_DAYS = """
    ai_usage_events FINAL
    {scopes}
    PREWHERE timestamp >= toDateTime64({{first:Date32}}, 6, 'UTC')
        AND timestamp < toDateTime64({{last:Date32}} + 1, 6, 'UTC')
        AND toDate32(timestamp) IN {{days:Array(Date32)}}
        AND event != {canary_id}
"""

# The last row of each build shows that the build has all its rows: the rows of a month come in one block.
_FILL = """
    INSERT INTO {table} ({columns})
    SELECT {build} AS build, toDate32(timestamp) AS day, {expressions}
    FROM {events}
    GROUP BY build, day, {names}
    UNION ALL
    SELECT pair.2, pair.1, {whole}
    FROM (SELECT arrayJoin(arrayZip({{days:Array(Date32)}}, {{builds:Array(UInt64)}})) AS pair)
    GROUP BY pair
"""

_DELETE = "ALTER TABLE {table} {on_cluster} DELETE WHERE {condition}"

_WHOLE_BUILDS = f"""
    SELECT build, day
    FROM {TOTALS}
    WHERE project_id = 0 AND scope = '{WHOLE}' AND build IN (SELECT build FROM {USERS} WHERE namespace_path = '{WHOLE}')
"""  # noqa: S608 - constants

_ALL_BUILDS = f"""
    SELECT DISTINCT build FROM {TOTALS} WHERE project_id = 0 AND scope = '{WHOLE}'
    UNION DISTINCT
    SELECT DISTINCT build FROM {USERS} WHERE namespace_path = '{WHOLE}'
"""  # noqa: S608 - constants

_SYNC_REPLICAS = "SYSTEM SYNC REPLICA {on_cluster} {table}"

_SETTINGS = (
    READ_SETTINGS
    | ONE_BLOCK_SETTINGS
    | {
        "do_not_merge_across_partitions_select_final": 1,
        "max_insert_threads": 1,
        "insert_deduplicate": 0,
        "optimize_on_insert": 0,
    }
)


class RollupTables(msgspec.Struct, frozen=True):
    """The tables of rollups of a client.

    Attributes:
        cluster: cluster of the replicated tables; None for a single server.
        measures: the sums and distinct values that the rollups hold.
    """

    client: Client
    cluster: str | None
    measures: Sequence[RollupMeasure]

    def ensure(self) -> None:
        """Makes missing tables, and adds the columns of the measures. Any step may be repeated."""
        engine = "ReplicatedMergeTree" if self.cluster else "MergeTree"
        on_cluster = migrations.on_cluster(self.cluster)
        for table in TABLES:
            columns = columns_of(self.client, table)
            if not columns:
                definition = (migrations.FOLDER / f"{table}.sql").read_text()
                self.client.command(definition.format(table=table, on_cluster=on_cluster, engine=engine))
            if missing := [measure for measure in self.measures if measure.column not in columns]:
                added = ", ".join(
                    _ADD_COLUMN.format(column=quote_identifier(measure.column), column_type=measure.column_type)
                    for measure in missing
                )
                self.client.command(_ADD_COLUMNS.format(table=table, on_cluster=on_cluster, columns=added))

    def fill(self, builds: Sequence[tuple[date, int]]) -> None:
        """Inserts rows for the events of each day, with the number of the day's build.

        The server answers from replicas that may lag behind: on a cluster, all of them first catch up.
        """
        if self.cluster:
            self.client.command(_SYNC_REPLICAS.format(on_cluster=migrations.on_cluster(self.cluster), table=TABLE))
        days = [day for day, _ in builds]
        values = {"days": days, "builds": [build for _, build in builds], "first": min(days), "last": max(days)}
        for statement in (self._fill_totals(), self._fill_users()):
            self.client.command(statement, parameters=values, settings=_SETTINGS)

    def whole_builds(self) -> dict[int, date]:
        """Returns the day of each build that has all its rows in both tables."""
        return {int(build): day for build, day in self.client.query(_WHOLE_BUILDS).result_rows}

    def all_builds(self) -> set[int]:
        """Returns the builds that have rows."""
        return {int(build) for (build,) in self.client.query(_ALL_BUILDS).result_rows}

    def delete_builds(self, builds: Collection[int]) -> None:
        """Removes the rows of builds; ClickHouse does so some time later."""
        condition = f"build IN ({', '.join(map(str, sorted(builds)))})"
        for table in TABLES:
            self.client.command(
                _DELETE.format(table=table, on_cluster=migrations.on_cluster(self.cluster), condition=condition)
            )

    def _fill_totals(self) -> str:
        return self._fill_statement(
            TOTALS,
            scopes=f"ARRAY JOIN {_SCOPES} AS place",
            keys={"project_id": "place.2", "scope": "place.1", "event": "event"},
            values={"users": "groupBitmapState(user_id)"},
            whole={"project_id": "0", "scope": f"'{WHOLE}'", "event": "0", "users": "groupBitmapState(toUInt64(0))"},
        )

    def _fill_users(self) -> str:
        keys = {name: name for name in ("namespace_path", "project_id", "event", "user_id")}
        whole = {"namespace_path": f"'{WHOLE}'", "project_id": "0", "event": "0", "user_id": "0"}
        return self._fill_statement(USERS, scopes="", keys=keys, values={}, whole=whole)

    def _fill_statement(
        self, table: str, *, scopes: str, keys: dict[str, str], values: dict[str, str], whole: dict[str, str]
    ) -> str:
        declared = declared_paths(self.client)
        values = values | {measure.column: measure.of_events(declared) for measure in self.measures}
        empty = {measure.column: "0" if measure.kind == "sum" else "[]" for measure in self.measures}
        names = ["build", "day", *keys, "events", *values]
        marks: dict[str, Any] = {"events": "0"} | empty | whole
        return _FILL.format(
            table=table,
            columns=", ".join(map(quote_identifier, names)),
            build=_BUILD_OF_DAY,
            expressions=", ".join(
                [*(f"{key} AS key_{name}" for name, key in keys.items()), "count()", *values.values()]
            ),
            names=", ".join(f"key_{name}" for name in keys),
            events=_EVENTS_OF_DAYS.format(scopes=scopes, canary_id=canary.EVENT_ID),
            whole=", ".join(marks[name] for name in names[2:]),
        )
