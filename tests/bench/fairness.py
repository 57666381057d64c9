"""A tenant's query while another tenant sends as many queries as it can, against the same query alone."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from functions.sync.sync import Sync
from infra.operations.token import sign
from tests.bench.api import SECRET, Api
from tests.bench.engines import database, postgres_server
from tests.bench.measure import Measurement, seconds_of, times
from tests.support.clickhouse import serve_clickhouse
from tests.support.hostile_readers import hostile_readers

EVENTS = 1_000_000
TURNS = 40
WARM_UP = 5
SETTLING_SECONDS = 3
SYNC_SECONDS = 600
HOSTILE, VICTIM = "27/", "9/"

# One event of ten is the victim's.
INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT md5('event ' || number)::uuid, %(newest)s::timestamptz - interval '0.5 seconds' * number, 3,
           number %% 50000 + 1, CASE WHEN number %% 10 = 0 THEN '9/' ELSE '27/28/' END,
           jsonb_build_object('language', 'l' || number %% 7, 'suggestion_size', number %% 911)
    FROM generate_series(1, %(count)s) AS numbers (number)
"""
QUERY = """
    query ($path: ID!) { namespace(fullPath: $path) {
        aiUsageData { all(first: 100) { nodes { id timestamp event payload } } }
        aiMetrics { totalEventCount usersCount }
    } }
"""


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `fair_postgres` and `fair_clickhouse`."""
    below = folder / "fair"
    with postgres_server(below) as server, serve_clickhouse(below) as clickhouse_url:
        url = database(server, "fairness")
        newest = datetime.now(UTC) - timedelta(minutes=1)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(INSERT, {"newest": newest, "count": EVENTS})
            connection.execute("VACUUM ANALYZE ai_usage_events")
        start = str((newest - timedelta(days=6)).date())
        yield _measured("fair_postgres", url, "", start)
        Sync(url, clickhouse_url).run(SYNC_SECONDS)
        yield _measured("fair_clickhouse", url, clickhouse_url, start)


def _measured(name: str, database_url: str, clickhouse_url: str, start: str) -> Measurement:
    with closing(Api(database_url, clickhouse_url)) as api:
        api.headers |= {"Authorization": f"Bearer {sign(SECRET, '2', ['events:read'], [VICTIM], timedelta(hours=1))}"}

        def ask() -> None:
            api.ask(QUERY, {"path": VICTIM})

        quiet = [seconds_of(ask) for _ in range(WARM_UP + TURNS)][WARM_UP:]
        with hostile_readers(HOSTILE, start, database_url, clickhouse_url):
            time.sleep(SETTLING_SECONDS)
            attacked = [seconds_of(ask) for _ in range(TURNS)]
        return times(name, attacked, quiet)
