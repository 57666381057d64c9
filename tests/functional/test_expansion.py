"""A release only expands the schema: the release before works on it, and nobody waits for a migration."""

import itertools
import shutil
from collections.abc import Iterator, Set
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from functions.shared.partitions import later_month, partition_name, wanted_months
from functions.shared.postgres import TimeLimits, connect
from functions.sync.migrations import NEWEST
from infra.migrations import last_release
from infra.migrations.budget import LOCK_SECONDS, TimeBudget
from infra.migrations.schema import FOLDER, Schema
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.newer_release import write_migration
from tests.support.schema_changes import Catalog, blocking, broken

LIMITS = TimeLimits(statement=60, transaction=60)
PARTITION = "CREATE TABLE {name} PARTITION OF ai_usage_events FOR VALUES FROM ('{start}') TO ('{end}')"
CHANGES = {
    "ALTER TABLE users ADD COLUMN locale text": (),
    "ALTER TABLE users ADD COLUMN locale text NOT NULL DEFAULT 'en'": (),
    "ALTER TABLE ai_usage_events ADD COLUMN channel text CHECK (channel <> '')": (),
    "CREATE TABLE teams (id int PRIMARY KEY, user_id bigint REFERENCES users)": (),
    "CREATE TABLE teams (id int); CREATE INDEX ON teams (id)": (),
    "ALTER TABLE users ALTER COLUMN username SET DEFAULT ''": (),
    "ALTER TABLE rejected_events ALTER COLUMN source DROP NOT NULL": (),
    "DROP INDEX ai_usage_events_user": (),
    "DROP TABLE exports": ("exports is gone",),
    "ALTER TABLE exports RENAME TO former_exports": ("exports is gone",),
    "ALTER TABLE users DROP COLUMN last_activity_on": ("users.last_activity_on is gone",),
    "ALTER TABLE users RENAME COLUMN username TO name": ("users.username is gone",),
    "ALTER TABLE users ALTER COLUMN last_activity_on TYPE text": ("users.last_activity_on is text instead of date",),
    "ALTER TABLE users ALTER COLUMN username SET NOT NULL": ("users.username is no longer null",),
    "ALTER TABLE rejected_events ALTER COLUMN attempts DROP DEFAULT": (
        "rejected_events.attempts has no default any more",
    ),
    "ALTER TABLE users ADD COLUMN locale text NOT NULL": ("users.locale is new, and an INSERT without it is refused",),
    "ALTER TABLE sync_state DROP CONSTRAINT sync_state_pkey": (
        "the key sync_state: PRIMARY KEY (target) is gone, which ON CONFLICT may name",
    ),
    "ALTER TABLE users ADD UNIQUE (username)": ("users: UNIQUE (username) may refuse what was allowed",),
    "ALTER TABLE ai_usage_events ADD CHECK (user_id > 0) NOT VALID": (
        "ai_usage_events: CHECK ((user_id > 0)) may refuse what was allowed",
    ),
    "DROP TRIGGER ai_usage_events_changed ON ai_usage_events": (
        "the trigger ai_usage_events: ai_usage_events_changed is gone",
    ),
}
LONG = {
    "ALTER TABLE ai_usage_events ADD COLUMN channel text DEFAULT 'web'": None,
    "ALTER TABLE ai_usage_events ADD COLUMN number uuid DEFAULT gen_random_uuid()": "was rewritten: readers wait",
    "CREATE INDEX ON ai_usage_events (event)": "was built in a transaction: writers wait",
    "CREATE INDEX ON users (username)": "was built in a transaction: writers wait",
}

_numbers = itertools.count(1)


@pytest.fixture
def released(administration: psycopg.Connection, postgres_server: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the schema of the last release, and its partitions."""
    name = f"released_{next(_numbers)}"
    folder = tmp_path / "released"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (folder / "versions").glob("[0-9]*.py"):
        if file.name[:4] > last_release.REVISION:
            file.unlink()
    administration.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{postgres_server.rpartition('/')[0]}/{name}"
    upgrade(url, folder)
    with connect(url, LIMITS) as connection:
        for month in wanted_months(NOW.date(), 3):
            connection.execute(
                PARTITION.format(name=partition_name(month), start=month, end=later_month(month, 1)).encode()
            )
    yield url
    administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def upgrade(url: str, folder: Path) -> None:
    with connect(url, LIMITS) as own, connect(url, LIMITS, f"-c lock_timeout={LOCK_SECONDS}s") as control:
        list(Schema(own, folder).upgrade(control, TimeBudget(60)))


def test_what_the_last_release_uses_is_there_after_all_migrations(
    released: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    write_migration(folder)  # one that does as the rules say
    with psycopg.connect(released, autocommit=True) as connection:
        before = Catalog.of(connection)
        with monkeypatch.context() as patched:
            patched.setattr(Schema, "_take_steps", lambda *_: iter(()))
            upgrade(released, folder)
        assert list(blocking(before, Catalog.of(connection))) == []
        upgrade(released, folder)
        assert list(broken(before, Catalog.of(connection), last_release.UNUSED)) == []


def test_a_release_tells_its_newest_migrations() -> None:
    revisions = sorted(file.name[:4] for file in (FOLDER / "versions").glob("[0-9]*.py"))
    assert last_release.REVISION in revisions
    _, _, unreleased = (ROOT / "CHANGELOG.md").read_text().partition("\n## [Unreleased]\n")
    assert unreleased
    if not unreleased.partition("\n## ")[0].strip():
        assert (revisions[-1], NEWEST) == (last_release.REVISION, last_release.CLICKHOUSE_MIGRATION)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_takes_something_away_is_found(change: str, database_url: str) -> None:
    assert found(change, database_url) == list(CHANGES[change])


@pytest.mark.parametrize(
    ("change", "unused"),
    [
        ("DROP TABLE exports", {"exports"}),
        ("ALTER TABLE users DROP COLUMN last_activity_on", {"users.last_activity_on"}),
        ("ALTER TABLE sync_state DROP COLUMN target", {"sync_state.target"}),
        ("DROP TRIGGER ai_usage_events_changed ON ai_usage_events", {"ai_usage_events: ai_usage_events_changed"}),
    ],
)
def test_what_the_last_release_no_longer_uses_may_go(change: str, unused: Set[str], database_url: str) -> None:
    assert found(change, database_url, unused) == []


@pytest.mark.parametrize("change", LONG)
def test_a_change_that_keeps_others_waiting_is_found(change: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        before = Catalog.of(connection)
        connection.execute(change.encode())
        said = list(blocking(before, Catalog.of(connection)))
    expected = LONG[change]
    assert all(expected is not None and expected in line for line in said)
    assert bool(said) is (expected is not None)


def found(change: str, database_url: str, unused: Set[str] = frozenset()) -> list[str]:
    with psycopg.connect(database_url) as connection:
        before = Catalog.of(connection)
        connection.execute(change.encode())
        return list(broken(before, Catalog.of(connection), unused))
