"""Migrations with long steps: they keep no one waiting, and go on where they stopped."""

import threading
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from functions.shared.partitions import later_month, make_partitions, month_of, partitions
from functions.shared.postgres import TimeLimits, connect
from infra.migrations import steps
from infra.migrations.budget import LOCK_SECONDS, TimeBudget, Unfinished
from infra.migrations.schema import FOLDER, Schema
from infra.migrations.steps import BuildIndex
from tests.support.clock import NOW
from tests.support.graphql import Insert
from tests.support.newer_release import REVISION, with_newer_migration

LIMITS = TimeLimits(statement=60, transaction=60)
OPEN_STEPS = "SELECT name FROM migration_steps WHERE done_at IS NULL ORDER BY number"
BUILT = """
    SELECT count(*) FILTER (WHERE indisvalid), count(*)
    FROM pg_index
    WHERE indexrelid = to_regclass('ai_usage_events_channel')
       OR indexrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('ai_usage_events_channel'))
"""

INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
CANCEL_BUILD = """
    SELECT pg_cancel_backend(pid)
    FROM pg_stat_activity
    WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()
"""


class Deployment:
    """Deployments of one release to a database."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._url = database_url
        self._folder = folder

    def __call__(self, seconds: float = 60) -> list[str]:
        with ExitStack() as stack:
            own = stack.enter_context(connect(self._url, LIMITS))
            control = stack.enter_context(connect(self._url, LIMITS, f"-c lock_timeout={LOCK_SECONDS}s"))
            return list(Schema(own, self._folder).upgrade(control, TimeBudget(seconds)))


class Running(threading.Thread):
    """A deployment that runs meanwhile."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self._deployment = deployment
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._deployment()
        except BaseException as error:  # noqa: BLE001 - asserted by the test
            self._failure = error

    def failure(self) -> BaseException | None:
        """Waits for the end, and returns what the deployment raised."""
        self.join()
        return self._failure


@pytest.fixture
def older(database_url: str) -> Deployment:
    return Deployment(database_url, FOLDER)


@pytest.fixture
def newer(database_url: str, tmp_path: Path) -> Deployment:
    return Deployment(database_url, with_newer_migration(FOLDER, tmp_path / "migrations"))


@pytest.fixture
def built(connection: psycopg.Connection) -> int:
    """The number of indexes that the newer migration's index has: its own, and one of each partition."""
    return 1 + len(partitions(connection))


def test_a_migrations_steps_are_done_once_and_new_partitions_have_their_indexes(
    newer: Deployment, connection: psycopg.Connection, insert: Insert, built: int
) -> None:
    for _ in range(25):
        insert()
    said = newer()
    assert [line.partition(":")[0] for line in said] == [f"applied migration {REVISION}"] + [
        f"finished migration {REVISION}"
    ] * 4
    assert newer() == []
    assert connection.execute("SELECT DISTINCT channel FROM ai_usage_events").fetchall() == [("unknown",)]
    assert connection.execute(BUILT).fetchone() == (built, built)
    make_partitions(connection, [later_month(month_of(NOW.date()), 40)])
    assert connection.execute(BUILT).fetchone() == (built + 1, built + 1)


def test_an_older_release_leaves_a_newer_schema_and_its_open_steps_alone(
    newer: Deployment, older: Deployment, connection: psycopg.Connection
) -> None:
    newer()
    connection.execute("UPDATE migration_steps SET done_at = NULL WHERE number = 3")
    assert [line.partition(":")[0] for line in older()] == [
        "left a step as a newer release left it",
        "left the schema as a newer release made it",
    ]
    assert newer() == [f"finished migration {REVISION}: check of channels"]


def test_a_build_that_stops_anywhere_is_continued_by_the_next_deployment(
    newer: Deployment, connection: psycopg.Connection, built: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = steps.BuildIndex._alone
    statements = 0

    def fail(own: BuildIndex, statement: sql.Composed, *arguments: object) -> None:
        nonlocal statements
        statements += 1
        if statements == 3:
            raise Unfinished("stopped")
        execute(own, statement, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(steps.BuildIndex, "_alone", fail)
        with pytest.raises(Unfinished):
            newer()
    assert connection.execute(BUILT).fetchone() == (2, 3)  # the parent's is valid once all partitions have theirs
    assert len(connection.execute(OPEN_STEPS).fetchall()) == 3
    assert len(newer()) == 3
    assert connection.execute(BUILT).fetchone() == (built, built)


def test_an_index_that_is_half_built_is_built_anew(
    newer: Deployment, connection: psycopg.Connection, database_url: str, built: int
) -> None:
    running = Running(newer)
    with psycopg.connect(database_url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM users")  # a build waits for transactions that may see the table without it
        while len(connection.execute(INVALID).fetchall()) < 2:
            assert running.is_alive()
        connection.execute(CANCEL_BUILD)
        assert "before index ai_usage_events_channel was built" in str(running.failure())
        assert len(connection.execute(INVALID).fetchall()) == 2  # the partition's, and that of all partitions
    newer()
    assert connection.execute(BUILT).fetchone() == (built, built)


def test_writers_go_on_while_a_migration_waits_for_a_lock(
    newer: Deployment, insert: Insert, database_url: str, connection: psycopg.Connection
) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'ai_usage_events'::regclass"
    with psycopg.connect(database_url) as other:
        other.execute("SELECT count(*) FROM ai_usage_events")  # as a long query, or a sync
        running = Running(newer)
        while connection.execute(waiting).fetchone() == (0,):
            assert running.is_alive()
        insert()  # behind the migration, which gives up and tries again later
        assert connection.execute("SELECT to_regclass('channels')").fetchone() == (None,)
    assert running.failure() is None
    assert connection.execute("SELECT to_regclass('channels')::text").fetchone() == ("channels",)
