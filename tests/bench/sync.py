"""The sync, against ClickHouse's fastest way in, and against other ways of copying the rows."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import batched
from pathlib import Path

import psycopg
from clickhouse_connect.driver.client import Client

from functions.shared import clickhouse
from functions.shared.catalog import registry
from functions.shared.catalog.payload_type import leaf_paths
from functions.shared.clickhouse import INSERT_SETTINGS, TABLE
from functions.shared.event_columns import NAMES
from functions.shared.sync_state import BEGINNING, read_watermark
from functions.sync.chunks import COLUMNS, PLANNER_OPTIONS, copied_rows
from functions.sync.sync import Sync
from functions.sync.table import ensure_table
from tests.bench.consume import consume
from tests.bench.engines import database, postgres_server
from tests.bench.measure import Measurement, Work, against, clocked_by_turns, rates, seconds_of
from tests.support.clickhouse import serve_clickhouse

TURNS = 7
SLOW_TURNS = 3
WARM_UP = 1
SECONDS = 600
CSV_ROWS = 5_000
FEW_ROWS = 30_000

FETCH = """
    SELECT id, timestamp AT TIME ZONE 'UTC', xact_id::text, 0, event, user_id, coalesce(namespace_path, ''),
           coalesce(project_id, 0), payload::text
    FROM ai_usage_events
    ORDER BY xact_id, id
"""

FEW = f"""
    COPY (SELECT {", ".join(NAMES)} FROM ai_usage_events ORDER BY xact_id, id LIMIT {FEW_ROWS}) TO STDOUT
"""

# In kB. On Linux what getrusage says is at least what the parent of a process has needed, but `VmHWM` is its own peak.
PEAK = """
import re, resource, sys
from pathlib import Path
from functions.sync.sync import Sync
Sync(sys.argv[1], sys.argv[2]).run(600)
if sys.platform == "linux":
    print(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `sync_vs_…` and `sync_memory` on events that the consumer has stored."""
    below = folder / "sync"
    with postgres_server(below) as server, serve_clickhouse(below) as clickhouse_url:
        url = database(server, "consumed")
        consume(url)
        yield from _measured(url, clickhouse_url)
        yield _memory(url, database(server, "few"), clickhouse_url)


def _measured(url: str, clickhouse_url: str) -> Iterator[Measurement]:
    """Measures `sync_vs_…`."""
    with (
        closing(clickhouse.connect(clickhouse_url, SECONDS)) as client,
        psycopg.connect(url, autocommit=True, options=f"{PLANNER_OPTIONS} -c timezone=UTC") as connection,
    ):
        with copied_rows(connection, 1, BEGINNING, read_watermark(connection)) as stream:
            rows = stream.take(10**9)
        data = b"".join(rows)

        def clock(work: Work) -> Callable[[], float]:
            return partial(_seconds, client, work, len(rows))

        sync = clock(lambda: Sync(url, clickhouse_url).run(SECONDS))
        raw = clock(lambda: _insert(client, data, "TabSeparated", optimize_on_insert=0))
        own, others = clocked_by_turns(TURNS, WARM_UP, sync, raw)
        yield rates("sync_vs_raw_insert", len(rows), "rows", own, others)
        fetch = clock(lambda: _fetch_and_client_insert(client, connection))
        as_csv = clock(lambda: _fetch_and_insert(client, connection))
        own, others, csv_seconds = clocked_by_turns(SLOW_TURNS, 0, sync, fetch, as_csv)
        yield rates("sync_vs_fetch_and_insert", len(rows), "rows", own, others)
        yield rates("sync_vs_fetch_and_csv", len(rows), "rows", own, csv_seconds)


def _seconds(client: Client, work: Work, rows: int) -> float:
    """Returns the seconds of copying all rows into an empty table."""
    _empty(client)
    seconds = seconds_of(work)
    found = client.command(f"SELECT count() FROM {TABLE} FINAL")
    if found != rows:
        raise RuntimeError(f"{found} rows instead of {rows} are in ClickHouse")
    return seconds


def _empty(client: Client) -> None:
    """Makes a new table, so that the sync begins with the first row."""
    client.command(f"DROP TABLE IF EXISTS {TABLE} SYNC")
    ensure_table(client, None, leaf_paths(registry.load().payload_types))


def _insert(client: Client, data: bytes, form: str, **settings: int) -> None:
    client.raw_insert(TABLE, COLUMNS, data, settings=INSERT_SETTINGS | settings, fmt=form)


def _fetch_and_client_insert(client: Client, connection: psycopg.Connection) -> None:
    """What a script does: the rows are fetched, and the client inserts them some thousands at a time."""
    with connection.transaction(), connection.cursor(name="rows") as cursor:
        cursor.itersize = CSV_ROWS
        for rows in batched(cursor.execute(FETCH), CSV_ROWS, strict=False):
            client.insert(TABLE, rows, COLUMNS, settings=INSERT_SETTINGS)


def _fetch_and_insert(client: Client, connection: psycopg.Connection) -> None:
    """Fetches rows, writes them as CSV and inserts some thousands at a time, as GitLab does."""
    with connection.transaction(), connection.cursor(name="rows") as cursor:
        cursor.itersize = CSV_ROWS
        for rows in batched(cursor.execute(FETCH), CSV_ROWS, strict=False):
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            _insert(client, text.getvalue().encode(), "CSV")


def _memory(url: str, few_url: str, clickhouse_url: str) -> Measurement:
    """Measures how much more memory the sync needs for ten times the rows."""
    with (
        psycopg.connect(url) as source,
        psycopg.connect(few_url) as target,
        source.cursor().copy(FEW) as rows,
        target.cursor().copy(f"COPY ai_usage_events ({', '.join(NAMES)}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write(row)
    many, few = [_peak_megabytes(one, clickhouse_url) for one in (url, few_url)]
    return against("sync_memory", round(many), "MB", round(few))


def _peak_megabytes(url: str, clickhouse_url: str) -> float:
    with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
        _empty(client)
    command = [sys.executable, "-c", PEAK, url, clickhouse_url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output) / 1024
