"""Rollups of days in ClickHouse answer metrics as the events do."""

import psycopg
from clickhouse_connect.driver.client import Client

from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from tests.support.metrics_model import Event

SECONDS = 60


def test_each_day_that_is_over_gets_a_rollup(
    connection: psycopg.Connection, client: Client, sync: Sync, events: list[Event]
) -> None:
    sync.run(SECONDS)
    report = Rollups(sync.database_url, sync.clickhouse_url).run(SECONDS)
    assert report.days > 0
    assert report.waiting == 0
    (counted,) = client.query("SELECT sum(events) FROM ai_usage_daily_users").result_rows[0]
    assert counted == report.events
