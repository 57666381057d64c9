"""`usage-events namespace move` and what `usage-events status` says of moves, as an operator uses them."""

from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner

from functions.ingest.pipeline import Consumer
from functions.shared import locks
from functions.shared.catalog import registry
from functions.shared.postgres import Database, TimeLimits
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from infra.cli import app
from tests.functional.test_directory import place_of
from tests.functional.test_moves import at, paths, say
from tests.support.accounts import Query

CHANGES = "SELECT command, kind, id, before, after FROM directory_changes ORDER BY changed_at"


@pytest.fixture
def consumer(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CLICKHOUSE_URL", "")
    consumer = Consumer(Database(database_url, TimeLimits(30, 30)), registry.load(), 3)
    yield consumer
    consumer.database.close()


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.mark.parametrize("old", ["27/28/", "28"])
def test_an_operator_moves_a_namespace_by_path_or_id(consumer: Consumer, query: Query, old: str) -> None:
    say(consumer, *(at("27/28/", user, 5, "acme/team") for user in (1, 2)), at("27/28/29/", 3, 5))
    assert run("namespace", "move", old, "31/28/").endswith("27/28/ is 31/28/ now; 3 events and 0 names moved.\n")
    assert paths(query) == {1: "31/28/", 2: "31/28/", 3: "31/28/29/"}
    assert place_of(query, "namespace", 28) == ("31/28/", "acme/team")
    before = {"path": "27/28/", "full_path": "acme/team"}
    change = {"command": "move", "kind": "namespace", "id": 28}
    assert query(CHANGES) == [change | {"before": before, "after": before | {"path": "31/28/"}}]


def test_a_move_is_repeated_without_a_new_fact_and_moves_what_was_written_by_hand(
    consumer: Consumer, query: Query, connection: psycopg.Connection
) -> None:
    say(consumer, at("31/28/", 1, 5))
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
        " VALUES (gen_random_uuid(), now(), 6, 2, '27/28/', '{}')"
    )
    facts = query("SELECT * FROM facts WHERE attribute = 'path'")
    assert "1 event and 0 names moved." in run("namespace", "move", "27/28/", "31/28/")
    assert "0 events and 0 names moved." in run("namespace", "move", "27/28/", "31/28/")
    assert query("SELECT * FROM facts WHERE attribute = 'path'") == facts
    assert paths(query) == {1: "31/28/", 2: "31/28/"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "reason"),
    [
        (("27/28/", "31/29/"), 1, "27/28/ and 31/29/ end in different ids"),
        (("27/28/", "27/28/"), 1, "can't move from 27/28/ to the same path"),
        (("28", "31/28/"), 1, "no path of the namespace 28 is known"),
        (("27/28", "31/28/"), 2, "'27/28' is not like 27/28/"),
        (("27/28/", "gitlab-org/gitlab"), 2, "is not like 27/28/"),
        (("27/28/", "31/28/28/"), 1, "31/28/28/ has an id twice"),
    ],
)
def test_what_can_not_be_moved_is_refused(
    consumer: Consumer, query: Query, arguments: tuple[str, ...], exit_code: int, reason: str
) -> None:
    assert reason in run("namespace", "move", *arguments, exit_code=exit_code)
    assert query("SELECT * FROM namespace_moves") == query(CHANGES) == []


def test_status_shows_the_moves_that_are_not_done(
    consumer: Consumer, connection: psycopg.Connection, query: Query
) -> None:
    say(consumer, at("27/28/", 1, 5))
    assert "Moves" not in run("status")
    say(consumer, at("31/28/", 2, 1))
    connection.execute("SELECT pg_advisory_lock(%s)", [locks.MOVES])
    (line,) = (line for line in run("status").splitlines() if "namespace 28" in line)
    assert [part for part in line.split() if part.endswith("28/")] == ["27/28/", "31/28/"]
    connection.execute("SELECT pg_advisory_unlock_all()")
    run("namespace", "move", "27/28/", "31/28/")
    assert "Moves" not in run("status")


def test_status_counts_the_moves_that_are_not_done_in_clickhouse(
    consumer: Consumer, database_url: str, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
    say(consumer, at("27/28/", 1, 5))
    Sync(database_url, clickhouse_url).run(60)
    say(consumer, at("31/28/", 2, 1))
    Mover(database_url).run(60)
    assert "where 1 move is not" in " ".join(run("status").split())
    Mover(database_url, clickhouse_url).run(60)
    assert "not done" not in " ".join(run("status").split())
