"""Events of three months in PostgreSQL and ClickHouse, made once and reused by later runs."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console

from functions.shared import clickhouse
from functions.shared.catalog import registry
from functions.shared.catalog.payload_type import leaf_paths
from functions.shared.clickhouse import READ_SETTINGS, TABLE
from functions.shared.partitions import first_moment, later_month, make_partitions, month_of
from functions.shared.rollup import TOTALS
from functions.sync.report import Report
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from functions.sync.table import ensure_table
from infra.local.postgres import PostgresError
from infra.local.process import StartError
from tests.bench import bulk
from tests.bench.engines import database, postgres_server
from tests.support.checkout import ROOT
from tests.support.clickhouse import serve_clickhouse

DAYS = 92
SIZES = {"large": 5_000_000, "small": 50_000}
USERS = 10_000
BATCH = 100_000
SECONDS = 3600
MERGE_SECONDS = 120

# What the data set also depends on: where one of them changes, it is made anew.
FOLDERS = (ROOT / "infra/migrations/postgres/versions", ROOT / "infra/migrations/clickhouse")

# 60 % are below 9/: in 60 groups of 1 % each, which have events of their own and ten groups below them. The rest is in
# 20 other roots of 2 % each. Payloads are as the definitions make them; the project is the payload's.
INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    SELECT md5('event ' || number)::uuid,
           %(start)s::timestamptz + %(step)s::interval * (number + place),
           CASE
               WHEN kind < 0.70 THEN 2 + choice %% 3
               WHEN kind < 0.84 THEN 6
               WHEN kind < 0.92 THEN (ARRAY[8, 9, 19, 20, 21, 22])[1 + choice %% 6]
               WHEN kind < 0.96 THEN 7
               ELSE 10 + choice %% 9
           END,
           1 + who %% %(users)s,
           CASE
               WHEN place >= 0.6 THEN format('%%s/%%s/', 10 + middle %% 20, (10 + middle %% 20) * 1000 + below)
               WHEN below = 0 THEN format('9/%%s/', 100 + middle)
               ELSE format('9/%%s/%%s/', 100 + middle, (100 + middle) * 10 + below)
           END,
           CASE WHEN kind >= 0.84 AND kind < 0.96 THEN 1 + choice %% 5000 END,
           CASE
               WHEN kind < 0.70 THEN jsonb_build_object(
                   'unique_tracking_id', md5('suggestion ' || number)::uuid,
                   'suggestion_size', 1 + who %% 59,
                   'language', (ARRAY['ruby', 'python', 'go', 'typescript', 'javascript', 'rust', 'java', 'c++'])
                               [1 + choice %% 8],
                   'branch_name', 'feature/' || who %% 500,
                   'ide_name', (ARRAY['VSCode', 'IntelliJ IDEA', 'Neovim'])[1 + who %% 3],
                   'ide_vendor', (ARRAY['Microsoft', 'JetBrains', 'Neovim'])[1 + who %% 3],
                   'ide_version', (ARRAY['1.106.2', '2026.2', '0.12.1'])[1 + who %% 3],
                   'extension_name', 'gitlab-workflow',
                   'extension_version', '6.41.0',
                   'language_server_version', '8.12.0',
                   'model_name', 'claude-sonnet',
                   'model_engine', 'anthropic'
               )
               WHEN kind < 0.84 THEN '{}'
               WHEN kind < 0.92 THEN jsonb_build_object(
                   'project_id', 1 + choice %% 5000,
                   'session_id', number,
                   'flow_type', 'software_development',
                   'environment', 'web'
               )
               WHEN kind < 0.96 THEN jsonb_build_object(
                   'job_id', number,
                   'project_id', 1 + choice %% 5000,
                   'pipeline_id', number + 1,
                   'merge_request_id', number + 2
               )
               ELSE '{}'
           END
    FROM (
        SELECT number,
               random() AS kind,
               random() AS place,
               floor(random() * 1e9)::int AS who,
               floor(random() * 1e9)::int AS choice,
               floor(random() * 60)::int AS middle,
               floor(random() * 11)::int AS below
        FROM generate_series(%(first)s::int, %(last)s::int) AS number
    ) AS chance
"""

USERNAMES = "INSERT INTO users (id, username) SELECT id, 'user-' || id FROM generate_series(1, %s) AS id"

NAMESPACES = """
    INSERT INTO namespaces (id, path, full_path)
    SELECT split_part(rtrim(path, '/'), '/', -1)::bigint, path, 'group-' || replace(rtrim(path, '/'), '/', '/group-')
    FROM (SELECT '9/' AS path UNION SELECT DISTINCT namespace_path FROM ai_usage_events) AS paths
"""

MERGES = "SELECT count() FROM system.merges"

# The same users, days, namespaces and payloads, each event ten times.
GROWTH = 10
GROWN = "grown"
GROW = f"""
    INSERT INTO {GROWN}.{TABLE} (id, timestamp, event, user_id, namespace_path, project_id, payload, version)
    SELECT generateUUIDv4(copy), timestamp, event, user_id, namespace_path, project_id, payload, version
    FROM {TABLE}
    ARRAY JOIN range({GROWTH}) AS copy
"""

CAUGHT_UP = """
    INSERT INTO sync_state (target, xact_id, id, updated_at, caught_up_at)
    SELECT %s, xact_id, id, updated_at, caught_up_at
    FROM sync_state
    LIMIT 1
    ON CONFLICT (target) DO NOTHING
"""

console = Console(highlight=False)


class Dataset(msgspec.Struct, frozen=True):
    """The databases that hold the events.

    Attributes:
        large: URL of the database of 5,000,000 events.
        small: URL of a database of 50,000 events over the same days.
        clickhouse: URL of the copy of the large database.
        first_day: day of the oldest event, in UTC.
        last_day: day of the newest event, in UTC.
    """

    large: str
    small: str
    clickhouse: str
    first_day: date
    last_day: date


class _Marker(msgspec.Struct, frozen=True):
    """A file that exists if the data set is complete."""

    version: str
    last_day: date


@contextmanager
def dataset(folder: Path) -> Iterator[Dataset]:
    """Yields the data set below the folder while both servers run; makes it if it is missing, old or incomplete."""
    below = folder / "dataset"
    marker = _marker(below)
    if marker is None or not _is_whole(below):
        marker = _make(below)
    with _servers(below) as (server, clickhouse_url):
        first_day = marker.last_day - timedelta(days=DAYS - 1)
        yield Dataset(f"{server}/large", f"{server}/small", clickhouse_url, first_day, marker.last_day)


@contextmanager
def _servers(folder: Path, *, anew: bool = False) -> Iterator[tuple[str, str]]:
    with postgres_server(folder, anew=anew) as server, serve_clickhouse(folder, anew=anew) as clickhouse_url:
        yield server, clickhouse_url


def _marker(folder: Path) -> _Marker | None:
    try:
        marker = msgspec.json.decode((folder / "dataset.json").read_bytes(), type=_Marker)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return marker if marker.version == _version() else None


def _version() -> str:
    own = repr((DAYS, SIZES, USERS, INSERT, USERNAMES, NAMESPACES))
    files = [file.read_bytes() for folder in FOLDERS for file in sorted(folder.glob("*.*"))]
    return hashlib.sha256(b"".join([own.encode(), *files])).hexdigest()


def _is_whole(folder: Path) -> bool:
    try:
        with (
            _servers(folder) as (server, clickhouse_url),
            closing(clickhouse.connect(clickhouse_url, SECONDS)) as client,
        ):
            counts = [_count(f"{server}/{name}") for name in SIZES]
            return [*counts, client.command(f"SELECT count() FROM {TABLE} FINAL")] == [*SIZES.values(), SIZES["large"]]
    except (PostgresError, StartError, psycopg.Error, ClickHouseError) as error:
        console.print(f"The events of earlier runs can't be read: {error}")
        return False


def _count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM ai_usage_events").fetchone()
    return row[0] if row else 0


def _make(folder: Path) -> _Marker:
    """Makes the data set, then the marker."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker = _Marker(_version(), datetime.now(UTC).date() - timedelta(days=1))
    start = time.monotonic()
    with _servers(folder, anew=True) as (server, clickhouse_url):
        with bulk.loading(server):
            for name, count in SIZES.items():
                _load(database(server, name), count, marker.last_day)
        _copy(f"{server}/large", clickhouse_url)
    (folder / "dataset.json").write_bytes(msgspec.json.encode(marker))
    console.print(f"The events are made: {time.monotonic() - start:.0f} s")
    return marker


def _load(url: str, count: int, last_day: date) -> None:
    """Fills the database with `count` events, spread evenly over the days."""
    first_day = last_day - timedelta(days=DAYS - 1)
    end = datetime.combine(last_day + timedelta(days=1), datetime.min.time(), UTC)
    step = timedelta(days=DAYS) / count
    values = {"start": end - timedelta(days=DAYS), "step": step, "users": USERS}
    with psycopg.connect(url, autocommit=True) as connection:
        make_partitions(connection, _months(first_day, last_day))
        with bulk.without_indexes(url), ThreadPoolExecutor(bulk.CONNECTIONS) as pool:
            load = partial(_load_batch, url, values)
            for number, last in enumerate(pool.map(load, range(0, count, BATCH), [count] * (count // BATCH + 1)), 1):
                if number % 10 == 0:
                    console.print(f"{last:,} of {count:,} events are in PostgreSQL")
        connection.execute(USERNAMES, [USERS])
        connection.execute(NAMESPACES)
        connection.execute("VACUUM (ANALYZE) users, namespaces")


def _load_batch(url: str, values: dict[str, object], first: int, count: int) -> int:
    """Inserts the events from the number `first` on, always the same, and returns the number after the last."""
    last = min(first + BATCH, count)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT setseed(%s)", [first / count])
        connection.execute(INSERT, values | {"first": first, "last": last - 1})
    return last


def _months(first_day: date, last_day: date) -> list[date]:
    months = [month_of(first_day)]
    while first_moment(months[-1]).date() < month_of(last_day):
        months.append(later_month(months[-1], 1))
    return months


def grown(dataset: Dataset) -> str:
    """Returns the URL of a database in ClickHouse that has ten times the events, with their rollups."""
    url = f"{dataset.clickhouse.rpartition('/')[0]}/{GROWN}"
    with closing(clickhouse.connect(dataset.clickhouse, SECONDS)) as client:
        client.command(f"CREATE DATABASE IF NOT EXISTS {GROWN}")
        with closing(clickhouse.connect(url, SECONDS)) as own:
            target = ensure_table(own, None, leaf_paths(registry.load().payload_types))
            if own.command(f"SELECT count() FROM {TABLE}") != GROWTH * SIZES["large"]:
                own.command(f"TRUNCATE TABLE {TABLE}")
                client.command(GROW, settings=READ_SETTINGS)
                _wait_for_merges(client)
    with psycopg.connect(dataset.large) as connection:
        connection.execute(CAUGHT_UP, [str(target)])
    build_rollups(dataset.large, url)
    return url


def build_rollups(url: str, clickhouse_url: str) -> None:
    """Builds the rollups that are due, prints how long that takes, and merges their parts as those of events are.

    The sync's own row does not include it.
    """
    start = time.monotonic()
    report = Rollups(url, clickhouse_url).run(SECONDS)
    if report.days:
        seconds = time.monotonic() - start
        console.print(f"Rollups of {report.days} days with {report.events:,} events are built: {seconds:.0f} s")
        with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
            client.command(f"OPTIMIZE TABLE {TOTALS} FINAL")


def _wait_for_merges(client: Client) -> None:
    give_up = time.monotonic() + MERGE_SECONDS
    while client.command(MERGES) and time.monotonic() < give_up:
        time.sleep(0.5)


def _copy(url: str, clickhouse_url: str) -> None:
    """Runs the sync until all events are copied, waits until ClickHouse has merged its parts, and builds rollups."""

    def progress(report: Report) -> None:
        if report.chunks % 10 == 0:
            console.print(f"{report.rows:,} events are in ClickHouse")

    Sync(url, clickhouse_url, progress=progress).run(SECONDS)
    with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
        _wait_for_merges(client)
    build_rollups(url, clickhouse_url)
