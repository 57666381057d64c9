"""Declared payload keys have columns of their own in ClickHouse, whatever other values payloads hold."""

import dataclasses
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.graphql.clickhouse import payload_sql as clickhouse_payload
from functions.graphql.types.filters import conditions
from functions.shared import event_columns
from functions.shared.clickhouse import READ_SETTINGS, declared_paths, last_migration, target_of
from functions.sync import migrations, table
from functions.sync.migrations import MIGRATIONS, NEWEST
from tests.functional.test_payload_values import PATHS, PAYLOADS, expected, in_clickhouse, in_postgres, read
from tests.support.payloads import PayloadStores, value_at

OWN_KEYS = [{f"own_{row}_{key}": key for key in range(1000)} for row in range(10)]
EVERYBODYS = [{"language": "ruby", "suggestion_size": size} for size in range(200)]
DECLARED = frozenset({("v",), ("o", "v"), ("a",)})

PARTS_COLUMNS = """
    SELECT name, groupArray(column)
    FROM system.parts_columns
    WHERE active AND table = 'ai_usage_events' AND database = currentDatabase()
    GROUP BY name
"""
PARTS = """
    SELECT name, modification_time, hash_of_all_files
    FROM system.parts
    WHERE active AND table = 'ai_usage_events' AND database = currentDatabase()
    ORDER BY name
"""
MOST_PATHS = "SELECT max(length(JSONDynamicPaths(payload))) FROM ai_usage_events"
MUTATIONS = "SELECT count() FROM system.mutations WHERE table = 'ai_usage_events' AND database = currentDatabase()"
ENGINE = "SELECT engine_full FROM system.tables WHERE name = 'ai_usage_events' AND database = currentDatabase()"
MERGE = "OPTIMIZE TABLE ai_usage_events FINAL"
AS_IT_WAS = """
    CREATE TABLE ai_usage_events
    (id UUID, timestamp DateTime64(6, 'UTC'), event UInt16, user_id UInt64, namespace_path String, payload JSON)
    ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY (namespace_path, event, timestamp, id)
    SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, min_bytes_for_wide_part = 67108864
    COMMENT 'sync target 01a20e35-f7ab-76fd-9619-988571e5939c'
"""


@pytest.fixture
def declaring(stores: PayloadStores) -> PayloadStores:
    """Both stores, with columns for `v`, `o.v` and `a`."""
    stores.sync = dataclasses.replace(stores.sync, declared=DECLARED)
    return stores


def test_rows_with_a_thousand_undeclared_keys_leave_declared_columns_alone(stores: PayloadStores) -> None:
    stores.store([*OWN_KEYS, *EVERYBODYS])
    for _ in range(2):
        parts = stores.client.query(PARTS_COLUMNS).result_rows
        assert parts
        for _, columns in parts:
            assert {"payload/language", "payload/suggestion_size"} <= set(columns)
        assert stores.client.query(MOST_PATHS).result_rows[0][0] <= 128
        assert len(stores.in_clickhouse(conditions([{"path": "suggestion_size", "gte": 100}]))) == 100
        stores.client.command(MERGE)


def assert_read_alike(stores: PayloadStores, payloads: dict[Any, dict[str, Any]]) -> None:
    """Checks that both stores return each path's values as the payloads have them."""
    for path in PATHS:
        rows, others = in_postgres(stores, path), in_clickhouse(stores, path)
        for identifier, payload in payloads.items():
            wanted = expected(value_at(payload, path))
            assert read(rows[identifier]) == wanted, path
            assert read(others[identifier]) == wanted, path
            assert rows[identifier][4:] == others[identifier][4:], path


@pytest.mark.parametrize("order", [PAYLOADS, PAYLOADS[::-1]], ids=["", "reversed"])
def test_declared_paths_are_read_alike_from_both_stores_before_and_after_merges(
    order: list[dict[str, Any]], declaring: PayloadStores
) -> None:
    payloads = dict(zip(declaring.store(order), order, strict=True))
    assert declared_paths(declaring.client) == DECLARED
    assert_read_alike(declaring, payloads)
    declaring.client.command(MERGE)
    assert_read_alike(declaring, payloads)


def test_older_rows_are_read_by_a_newly_declared_column_without_a_rewrite(
    stores: PayloadStores,
) -> None:
    payloads = dict(zip(stores.store(PAYLOADS), PAYLOADS, strict=True))
    before = stores.client.query(PARTS).result_rows
    dataclasses.replace(stores.sync, declared=DECLARED).run(60)
    assert declared_paths(stores.client) > DECLARED
    assert stores.client.query(PARTS).result_rows == before
    assert stores.client.query(MUTATIONS).result_rows == [(0,)]
    assert_read_alike(stores, payloads)
    stores.client.command(MERGE)
    assert_read_alike(stores, payloads)
    for _, columns in stores.client.query(PARTS_COLUMNS).result_rows:
        assert {"payload/v", "payload/o/v", "payload/a"} <= set(columns)


NUMBERS = [0.5, 1, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), True, "1"]


def test_a_block_of_the_largest_integers_and_other_values_keeps_each_exactly(
    declaring: PayloadStores,
) -> None:
    for first in NUMBERS:
        payloads = [{"v": value, "o": {"v": value}} for value in (first, *NUMBERS)]
        ids = declaring.store(payloads)
        for _ in range(2):
            printed = declaring.clickhouse_values(["toJSONString(payload)", "toJSONString(`payload/v`)"], {})
            assert [json.loads(printed[identifier][0]) for identifier in ids] == payloads
            assert [json.loads(printed[identifier][1]) for identifier in ids] == [each["v"] for each in payloads]
            for value in NUMBERS:
                (asked,) = conditions([{"path": "o.v", "eq": value}])
                assert declaring.in_clickhouse([asked]) == declaring.in_postgres([asked]) != set()
            declaring.client.command(MERGE)


def columns_read(stores: PayloadStores, **payload_filter: Any) -> set[str]:
    values: dict[str, Any] = {}
    (asked,) = conditions([payload_filter])
    condition = clickhouse_payload.condition(asked, values, stores.declared)
    plan = stores.client.query(
        f"EXPLAIN SELECT count() FROM ai_usage_events WHERE {condition}",
        parameters=values,
        settings=clickhouse_payload.SETTINGS | {"optimize_move_to_prewhere": 0},
    ).result_rows
    return set(plan[-1][0].partition("Output: ")[2].split(", "))


def test_a_filter_on_a_declared_path_reads_its_column_and_not_the_payload(stores: PayloadStores) -> None:
    stores.store([{"language": "ruby", "suggestion_size": 1}])
    assert columns_read(stores, path="language", eq="ruby") == {"payload/language.String"}
    types = {f"payload/suggestion_size.{kind}" for kind in ("Int64", "UInt64", "Float64")}
    assert columns_read(stores, path="suggestion_size", gt=1) == types


def test_what_is_selected_of_the_table_is_as_before(declaring: PayloadStores) -> None:
    declaring.store([{"v": 2, "own": 1}, {"own": 2}])
    found = declaring.client.query("SELECT * FROM ai_usage_events FINAL WHERE payload.v > 1", settings=READ_SETTINGS)
    assert found.column_names == (*event_columns.NAMES, "version", "is_deleted")
    assert [row[-3] for row in found.result_rows] == [{"v": 2, "own": 1}]


def test_migrations_are_numbered_in_their_order_each_with_its_file() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(2, NEWEST + 1))
    files = sorted(path.stem for path in migrations.FOLDER.glob("[0-9]*.sql"))
    assert files == [f"{migration.number:04}_{migration.name}" for migration in MIGRATIONS]


def test_a_table_of_before_is_brought_up_to_date_with_what_only_clickhouse_has(stores: PayloadStores) -> None:
    stores.client.command(AS_IT_WAS)
    target = target_of(stores.client)
    stores.client.command(
        "INSERT INTO ai_usage_events SELECT generateUUIDv4(), '2020-01-01', 2, 1, '', '{\"language\": \"go\"}'"
    )
    stores.sync.run(60)
    assert target_of(stores.client) not in (None, target)
    assert last_migration(stores.client) == NEWEST
    assert len(stores.in_clickhouse(conditions([{"path": "language", "eq": "go"}]))) == 1
    assert stores.client.query(MUTATIONS).result_rows == [(0,)]


def test_a_table_that_is_made_now_is_as_one_that_was_migrated(stores: PayloadStores) -> None:
    forms = []
    for before in (AS_IT_WAS, None):
        stores.client.command("DROP TABLE IF EXISTS ai_usage_events SYNC")
        if before:
            stores.client.command(before)
        dataclasses.replace(stores.sync, declared=DECLARED).run(60)
        ((engine,),) = stores.client.query(ENGINE).result_rows
        definition, _, settings = engine.partition(" SETTINGS ")
        columns = stores.client.query("DESCRIBE TABLE ai_usage_events").result_rows
        forms.append((definition, set(settings.split(", ")), columns, last_migration(stores.client)))
    assert forms[0] == forms[1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_migration_that_is_interrupted_is_applied_again_and_then_never_more(
    when: str, stores: PayloadStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.client.command(table.definition(None, uuid4()))
    applied: list[int] = []

    def counted(migration: migrations.Migration) -> migrations.Migration:
        def apply(client: Any, values: Any) -> None:
            if when == "before" and not applied:
                applied.append(migration.number)
                raise ClickHouseError("the connection is gone")
            migration.apply(client, values)
            applied.append(migration.number)
            if when == "after" and len(applied) == 1:
                raise ClickHouseError("the connection is gone")

        return migration._replace(apply=apply)

    monkeypatch.setattr(migrations, "MIGRATIONS", tuple(map(counted, MIGRATIONS)))
    with pytest.raises(ClickHouseError, match="is gone"):
        table.ensure_table(stores.client, None)
    assert last_migration(stores.client) == 1
    for _ in range(2):
        table.ensure_table(stores.client, None)
    assert applied == [2, *range(2, NEWEST + 1)]
    assert last_migration(stores.client) == NEWEST


def test_on_a_cluster_each_change_of_the_table_is_made_everywhere(stores: PayloadStores) -> None:
    cluster, target = "events `cluster`", UUID(int=7)
    bounded = (migrations.FOLDER / "0002_bounded_paths.sql").read_text().format(**migrations.parts(cluster, target))
    for statement in (bounded, migrations.add_columns_statement(cluster, [("v",), ("o", "v")])):
        query = "SELECT formatQuery({statement:String})"
        ((text,),) = stores.client.query(query, parameters={"statement": statement}).result_rows
        assert "ALTER TABLE ai_usage_events ON CLUSTER `events \\`cluster\\``" in text
