"""Servers for all tests, and a database of PostgreSQL or ClickHouse for each test that asks for one."""

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import clickhouse_connect
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import infra.migrations.migrate
from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.shared.catalog import registry
from infra import stack_file
from infra.local import postgres
from infra.migrations.migrate import migrate
from tests.support import checkout, clock
from tests.support.clickhouse import serve_clickhouse
from tests.support.environment import without_the_callers_system

TEMPLATE = "template_events"
RETENTION_MONTHS = 3
TOTALS = "totals"
"""The property by which a test says what it has counted, for the end of the run."""
SETTINGS = (
    "ALTER SYSTEM SET autovacuum = off",  # a database that it looks at can't be copied
    "ALTER SYSTEM SET fsync = off",
    "SELECT pg_reload_conf()",
)

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of an unforeseeable name is made there
ROOM_BYTES = 4 * 2**30  # many times what the servers of both processes write

SHARED = ("tests/e2e", "tests/integration")  # the tests of each of these folders share one stack
OWN_STACK = ("tests/e2e/test_rollback.py",)  # except those of these files, which start one of their own

_numbers = itertools.count(1)

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Distributes tests: a process runs those that share the deployed stack, one those on LocalStack, any a file's."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in SHARED and file not in OWN_STACK else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that share a stack first, because they take long; fails if two tests share an id.

    pytest-xdist would run only one of two tests with one id.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(SHARED))
    counts = Counter(item.nodeid for item in items)
    if shared := [nodeid for nodeid, count in counts.items() if count > 1]:
        raise pytest.UsageError(f"Several tests have one id: {', '.join(shared)}")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Returns the scheduler; pytest-xdist calls it."""
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how many tests used LocalStack, and what tests counted."""

    def count(*outcomes: str) -> int:
        reports = [report for outcome in outcomes for report in terminalreporter.stats.get(outcome, [])]
        return sum("tests/integration/" in report.nodeid for report in reports)

    passed, failed, skipped = count("passed"), count("failed", "error"), count("skipped")
    if passed or failed or skipped:
        terminalreporter.write_line(f"LocalStack: {passed} passed, {failed} failed, {skipped} skipped")
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == TOTALS:
                terminalreporter.write_line(f"{report.nodeid}: {value}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def callers_environment() -> Iterator[Mapping[str, str]]:
    """Hides the caller's own system from tests and programs that they start; yields the caller's environment.

    A local stack that runs in this checkout is hidden from commands within the process.
    """
    before, find = dict(os.environ), stack_file.find

    def find_elsewhere() -> Path | None:
        file = find()
        return None if file is not None and file.is_relative_to(checkout.ROOT) else file

    with pytest.MonkeyPatch.context() as patch:
        for name in before.keys() - without_the_callers_system(before).keys():
            patch.delenv(name)
        patch.setattr(stack_file, "find", find_elsewhere)
        yield before


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL, which never runs as root, may open; pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="ai-usage-events-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """A folder for the data of servers, in memory if there is room, because a database of PostgreSQL has 500 files."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="ai-usage-events-", dir=MEMORY if has_room else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", autouse=True)
def stopped_clock() -> Iterator[None]:
    """Makes partitions for the months around `NOW`, even if another month has begun since."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(infra.migrations.migrate, "datetime", SimpleNamespace(now=clock.NOW.astimezone))
        yield


@pytest.fixture(scope="session")
def postgres_server(data_folder: Path) -> Iterator[str]:
    """A PostgreSQL server; yields the URL of its migrated database, which tests copy and don't write to."""
    folder = data_folder / "postgres"
    try:
        url = postgres.start(folder / "data", folder / "postgres.log", TEMPLATE)
        with psycopg.connect(url, autocommit=True) as administration:
            for setting in SETTINGS:
                administration.execute(setting)
            _make_the_password_cheap(administration)
        migrate(url, registry.load(), RETENTION_MONTHS)
        yield url
    finally:
        postgres.stop(folder / "data")


def _make_the_password_cheap(administration: psycopg.Connection) -> None:
    """Stores the password hashed once, not 4096 times, because hashing takes most of the time of a connection."""
    administration.execute("SET scram_iterations = 1")
    role, password = sql.Identifier(postgres.OWNER), sql.Literal(administration.info.password)
    administration.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))


@pytest.fixture(scope="session")
def administration(postgres_server: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection that makes and drops databases."""
    with psycopg.connect(f"{postgres_server.rpartition('/')[0]}/postgres", autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(postgres_server: str, administration: psycopg.Connection) -> Iterator[str]:
    """The URL of a migrated database that no other test sees."""
    server, _, template = postgres_server.rpartition("/")
    name = f"test_{next(_numbers)}"
    # By files: the other strategy writes each page to the log too, which takes twice the time.
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    administration.execute(copy)
    yield f"{server}/{name}"
    administration.execute(drop)


@pytest.fixture(scope="session")
def clickhouse_server(data_folder: Path) -> Iterator[str]:
    """The URL of a ClickHouse server of the tests' own, without a database."""
    folder = data_folder / "clickhouse"
    folder.mkdir()
    with serve_clickhouse(folder) as url:
        yield url.rpartition("/")[0]


@pytest.fixture
def clickhouse_url(clickhouse_server: str) -> Iterator[str]:
    """The URL of an empty database in ClickHouse that no other test sees."""
    name = f"test_{next(_numbers)}"
    with clickhouse_connect.get_client(dsn=f"{clickhouse_server}/default") as administration:
        administration.command(f"CREATE DATABASE {name}")
        yield f"{clickhouse_server}/{name}"
        administration.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def consumer(database_url: str) -> Iterator[ConsumerHandler]:
    """The consumer function, which stores into the test's database."""
    handler = build(database_url=database_url, retention_months=RETENTION_MONTHS)
    yield handler
    handler.consumer.database.close()
