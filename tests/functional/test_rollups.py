"""Rollups of days in ClickHouse: when they are built, when they count, and what an erasure leaves of them."""

from datetime import timedelta

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.graphql.query.aggregation import Aggregation, Measure, MeasureKind
from functions.shared.catalog import registry
from functions.shared.clickhouse import target_of
from functions.shared.rollup import RollupMeasure
from functions.shared.rollup_days import record_change
from functions.sync.rollups import RollupReport, Rollups
from functions.sync.sync import Sync
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.support.clock import NOW
from tests.support.graphql import Insert
from tests.support.rollups import aggregations, open_stores, selection

SECONDS = 60
THEN = NOW - timedelta(days=3)
SIZES = RollupMeasure("sum", ("suggestion_size",), int)


def build(sync: Sync, *measures: RollupMeasure, rebuild_seconds: float = 0) -> RollupReport:
    """Copies all events and builds what is due, with these measures or else those of the definitions."""
    sync.run(SECONDS)
    rollups = Rollups(
        sync.database_url, sync.clickhouse_url, measures=measures or None, rebuild_seconds=rebuild_seconds
    )
    return rollups.run(SECONDS)


def test_each_day_that_is_over_gets_one_rollup(sync: Sync, client: Client, insert: Insert) -> None:
    insert(THEN)
    insert(NOW)
    assert (build(sync).events, build(sync).days) == (1, 0)
    assert client.query("SELECT sum(events) FROM ai_usage_daily_users").result_rows == [(1,)]


def test_a_day_that_changed_is_built_again_some_time_after_its_first_change(sync: Sync, insert: Insert) -> None:
    insert(THEN)
    build(sync)
    insert(THEN, user_id=2)
    assert build(sync, rebuild_seconds=600).days == 0
    assert build(sync).days == 1


def test_a_day_is_not_built_while_a_change_of_it_may_still_reach_clickhouse(
    sync: Sync, client: Client, connection: psycopg.Connection, insert: Insert
) -> None:
    insert(THEN)
    build(sync)
    target = target_of(client)
    assert target is not None
    record_change(connection, target, [THEN.date()])
    assert build(sync).days == 0
    connection.execute("UPDATE rollup_changes SET begun_at = begun_at - interval '1 hour'")
    assert build(sync).days == 1
    assert connection.execute("SELECT count(*) FROM rollup_changes").fetchone() == (0,)


def test_a_rollup_is_not_used_for_a_metric_that_was_declared_later(sync: Sync, client: Client, insert: Insert) -> None:
    insert(THEN, event=2, suggestion_size=7, language="go")
    build(sync, SIZES)
    languages = Measure(MeasureKind.DISTINCT, (2,), ("language",), str)
    sizes = Measure(MeasureKind.SUM, (2,), ("suggestion_size",), int)
    of_languages, of_sizes = (
        Aggregation(selection(), registry.load().feature_of, (measure,)) for measure in (languages, sizes)
    )
    with open_stores(str(sync.database_url), str(sync.clickhouse_url), client) as stores:
        assert (stores.uses_rollups(of_sizes), stores.uses_rollups(of_languages)) == (True, False)
        assert stores.with_rollups.aggregate(of_languages) == [(["go"],)]
        assert build(sync).days > 0
        assert (stores.uses_rollups(of_sizes), stores.uses_rollups(of_languages)) == (True, True)
        assert stores.with_rollups.aggregate(of_languages) == [(["go"],)]


@pytest.mark.parametrize("subject", [Subject("user", "5"), Subject("namespace", "1/2/")], ids=str)
def test_an_erasure_leaves_nothing_in_rollups_and_the_next_build_counts_the_others(
    subject: Subject, sync: Sync, client: Client, insert: Insert
) -> None:
    insert(THEN, event=2, user_id=5, path="1/2/", language="of the erased")
    insert(THEN, event=2, user_id=6, path="1/", language="go")
    insert(THEN - timedelta(days=1), event=2, user_id=6, path="1/", language="go")
    build(sync)
    assert Eraser(str(sync.database_url), str(sync.clickhouse_url)).erase(subject, "a test").clickhouse == "done"
    holding = """
        SELECT count()
        FROM ai_usage_daily_totals
        WHERE has(`distinct/str/language`, 'of the erased') OR startsWith(scope, '1/2/') OR bitmapContains(users, 5)
    """
    of_user = "SELECT count() FROM ai_usage_daily_users WHERE user_id = 5 OR namespace_path = '1/2/'"
    assert [client.query(statement).result_rows for statement in (holding, of_user)] == [[(0,)], [(0,)]]
    with open_stores(str(sync.database_url), str(sync.clickhouse_url), client) as stores:
        stores.require_equal(aggregations(selection()))
        assert build(sync).days == 1
        stores.require_equal(aggregations(selection()))


def test_rollups_do_not_count_once_events_of_their_days_moved(
    sync: Sync, client: Client, insert: Insert, connection: psycopg.Connection
) -> None:
    insert(THEN, path="1/2/")
    build(sync)
    connection.execute("UPDATE ai_usage_events SET namespace_path = '3/'")
    sync.run(SECONDS)
    with open_stores(str(sync.database_url), str(sync.clickhouse_url), client) as stores:
        stores.require_equal(aggregations(selection(namespaces=("1/",))) + aggregations(selection(namespaces=("3/",))))
        assert build(sync).days == 1
        stores.require_equal(aggregations(selection(namespaces=("1/",))) + aggregations(selection(namespaces=("3/",))))
