"""Rows that were stored before events had a project get the project that their payload names."""

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.shared.partitions import first_moment, later_month, month_of, partition_name
from infra.migrations.budget import TimeBudget, Unfinished
from infra.migrations.fill_projects import fill_projects
from infra.migrations.migrate import migrate
from tests.functional.test_migrations import REGISTRY
from tests.support.clock import NOW
from tests.support.graphql import Insert

MONTHS = [later_month(month_of(NOW.date()), months) for months in (-2, -1, 0)]
NAMES = [partition_name(month) for month in MONTHS]

# (the payload's `project_id`, the project to fill in)
ODD: list[tuple[Any, int | None]] = [
    (4, 4),
    ("4", 4),
    (2**63 - 1, 2**63 - 1),
    (2**63, None),
    (10**30, None),
    (0, None),
    (-4, None),
    (4.5, None),
    (True, None),
    (None, None),
    ("", None),
    ("04", None),
    (" 4", None),
    ("4\n", None),
    ("٤", None),
    ("4; DROP TABLE users", None),
    ("9" * 400, None),
    ([4], None),
    ({"id": 4}, None),
]


@pytest.fixture
def before(connection: psycopg.Connection) -> psycopg.Connection:
    """The database as the migration finds it: with partitions of before, whose projects are to be filled in."""
    for name in NAMES:
        connection.execute("INSERT INTO partitions_without_projects VALUES (%s)", [name])
    return connection


def fill(connection: psycopg.Connection) -> int:
    return fill_projects(connection, TimeBudget(60))


def projects(connection: psycopg.Connection) -> dict[str, int | None]:
    rows = connection.execute("SELECT id, project_id FROM ai_usage_events").fetchall()
    return {str(identifier): project for identifier, project in rows}


def unfilled(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM partitions_without_projects ORDER BY name")]


def test_only_a_payloads_project_id_that_is_one_is_filled_in(before: psycopg.Connection, insert: Insert) -> None:
    expected = {insert(project_id=value): project for value, project in ODD}
    expected[insert()] = None
    expected[insert(project=5, project_id=4)] = 5
    others = before.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " SELECT gen_random_uuid(), %s, 6, 1, payload FROM unnest(%s::jsonb[]) AS payloads (payload) RETURNING id",
        [NOW, [json.dumps(payload) for payload in ([4], "project_id", 4, None)]],
    )
    expected |= dict.fromkeys((str(identifier) for (identifier,) in others), None)
    assert fill(before) == 3
    assert projects(before) == expected


def test_filling_is_a_change_that_the_sync_copies_and_no_removal(before: psycopg.Connection, insert: Insert) -> None:
    filled, unchanged = insert(project_id=4), insert()
    versions = "SELECT id::text, xact_id::text::bigint FROM ai_usage_events"
    stored: dict[str, int] = dict(before.execute(versions).fetchall())
    fill(before)
    after: dict[str, int] = dict(before.execute(versions).fetchall())
    assert after[filled] > max(stored.values())
    assert after[unchanged] == stored[unchanged]
    assert before.execute("SELECT count(*) FROM removed_keys").fetchone() == (0,)


def test_an_interrupted_fill_goes_on_where_it_stopped(
    before: psycopg.Connection, insert: Insert, database_url: str
) -> None:
    last, middle, first = ([first_moment(month) + timedelta(days=day) for day in (0, 9)] for month in MONTHS)
    moments = [*first, *middle, *last]  # in the order of filling
    expected = {insert(moment, project_id=1 + number): 1 + number for number, moment in enumerate(moments)}
    ids = list(expected)
    before.execute("SET lock_timeout = '10ms'")
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM ai_usage_events WHERE id = %s FOR UPDATE", [ids[3]])
        for _ in range(2):
            with pytest.raises(Unfinished):
                fill_projects(before, TimeBudget(0.5))
        assert [projects(before)[identifier] for identifier in ids] == [1, 2, 3, None, None, None]
    assert fill(before) == 3
    assert projects(before) == expected


def test_a_partition_is_done_when_a_fill_finds_nothing_more(before: psycopg.Connection, insert: Insert) -> None:
    insert(project_id=4)
    assert fill(before) == 1
    assert unfilled(before) == NAMES[-1:]
    late = insert(project_id=5)  # by a consumer of before, while the first call was running
    assert fill(before) == 1
    assert projects(before)[late] == 5
    assert fill(before) == 0
    assert unfilled(before) == []
    kept = insert(project_id=6)  # by a plain INSERT, which need not name the project
    assert fill(before) == 0
    assert projects(before)[kept] is None


def test_a_fill_leaves_out_partitions_that_the_retention_dropped(before: psycopg.Connection, insert: Insert) -> None:
    kept, lost = insert(project_id=4), insert(first_moment(MONTHS[0]), project_id=4)
    before.execute(f"DROP TABLE {NAMES[0]}")
    before.execute("INSERT INTO partitions_without_projects VALUES ('ai_usage_events_199901')")
    assert fill(before) == 1
    assert projects(before) == {kept: 4}
    assert lost not in projects(before)
    assert unfilled(before) == NAMES[-1:]


def test_a_partition_that_is_dropped_while_it_is_filled_stops_nothing(
    before: psycopg.Connection, insert: Insert, database_url: str
) -> None:
    kept = insert(first_moment(MONTHS[0]), project_id=4)
    insert(project_id=4)
    with psycopg.connect(database_url, autocommit=True) as other:
        dropping = DroppingConnection(before, other, NAMES[-1])
        assert fill(dropping) == 1  # type: ignore[arg-type]
    assert projects(before) == {kept: 4}


class DroppingConnection:
    """A connection; before the first update the partition is dropped by another one."""

    def __init__(self, connection: psycopg.Connection, other: psycopg.Connection, name: str) -> None:
        self._connection = connection
        self._other = other
        self._name: str | None = name

    def execute(self, statement: Any, *arguments: Any) -> Any:
        text = statement if isinstance(statement, str) else statement.as_string()
        if self._name and "UPDATE" in text:
            self._other.execute(f"DROP TABLE {self._name}")
            self._name = None
        return self._connection.execute(statement, *arguments)


def test_a_deployment_fills_the_projects_and_says_how_many(
    before: psycopg.Connection, insert: Insert, database_url: str
) -> None:
    for _ in range(3):
        insert(project_id=4)
    assert migrate(database_url, REGISTRY, 3)[-1] == "filled the project of 3 events"
    assert migrate(database_url, REGISTRY, 3) == ["recorded 41 event types of release 1"]
    assert unfilled(before) == []
