"""The command `usage-events directory`."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from functions.ingest.pipeline import Consumer
from functions.shared.catalog import registry
from functions.shared.postgres import Database, TimeLimits
from infra.cli import app
from tests.functional.test_directory import OTHER_STEWARD, STEWARD, batch, event, place_of, project
from tests.support.accounts import Query
from tests.support.clock import NOW

CHANGES = "SELECT command, kind, id, before, after FROM directory_changes ORDER BY changed_at"


@pytest.fixture
def consumer(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", database_url)
    consumer = Consumer(Database(database_url, TimeLimits(30, 30)), registry.load(), 3)
    yield consumer
    consumer.database.close()


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, ["directory", *arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_what_is_known_is_shown_with_who_stated_it_and_when(consumer: Consumer) -> None:
    consumer.consume([batch([event(9, project=project(4, "27/28/", "own/project"))], None)])
    said = event(1, user={"id": 5, "username": "root"}, user_id=None, project=project(4, "27/29/"))
    consumer.consume([batch([said], STEWARD)])
    for name in ("4", "own/project"):
        shown = run("show", "project", name)
        assert shown.startswith("path       27/29/\nfull_path  own/project\n")
        assert f"{NOW - timedelta(days=1):%Y-%m-%d %H:%M:%S} UTC" in shown
        for text in ("https://issuer.example 7", "the queue", "27/", "all namespaces"):
            assert text in shown
    assert "username in 27/29/" in run("show", "user", "5")
    assert "No namespace is known as own/project." in run("show", "namespace", "own/project", exit_code=1)


def test_what_an_operator_sets_counts_until_something_newer_is_stated(consumer: Consumer, query: Query) -> None:
    consumer.consume([batch([event(9, project=project(4, "27/28/", "own/project"))], None)])
    assert run("set", "project", "4", "--path", "3/") == "project 4: path 3/, full_path own/project\n"
    consumer.consume([batch([event(1, project=project(4, "27/28/"))], None)])
    assert place_of(query, "project", 4) == ("3/", "own/project")
    consumer.consume([batch([event(-0.1, project=project(4, "27/28/"))], None)])
    assert place_of(query, "project", 4) == ("27/28/", "own/project")
    assert query(CHANGES) == [
        {
            "command": "set",
            "kind": "project",
            "id": 4,
            "before": {"path": "27/28/", "full_path": "own/project"},
            "after": {"path": "3/", "full_path": "own/project"},
        }
    ]


def test_the_namespaces_above_a_path_that_an_operator_sets_are_nobody_elses(consumer: Consumer, query: Query) -> None:
    run("set", "project", "4", "--path", "3/28/")
    consumer.consume([batch([event(namespace={"path": "99/3/"}), event(namespace={"path": "99/28/"})], OTHER_STEWARD)])
    assert [place_of(query, "namespace", number) for number in (3, 28)] == [None, None]


def test_what_an_operator_sets_counts_against_what_was_stated_of_a_time_ahead(consumer: Consumer, query: Query) -> None:
    said = event(-0.5, project=project(4, "27/28/", "own/project"), user={"id": 5, "username": "ahead"}, user_id=None)
    consumer.consume([batch([said], None)])
    assert run("set", "project", "4", "--path", "3/") == "project 4: path 3/, full_path own/project\n"
    assert (
        run("set", "project", "6", "--full-path", "own/project") == "project 6: path unknown, full_path own/project\n"
    )
    assert run("set", "user", "5", "--username", "set") == "user 5: username set\n"
    consumer.consume([batch([said], None)])
    assert place_of(query, "project", 4) == ("3/", None)


@pytest.mark.parametrize("ahead", [0, 0.5])
@pytest.mark.parametrize("kind", ["namespace", "project", "user"])
def test_what_is_forgotten_does_not_come_back_by_a_late_event(
    kind: str, ahead: float, consumer: Consumer, query: Query, connection: psycopg.Connection
) -> None:
    def say(days_ago: float, path: str = "27/28/") -> None:
        said = event(days_ago, user={"id": 28, "username": "root"}, user_id=None, project=project(28, path, "name"))
        consumer.consume([batch([said | {"namespace": {"path": path, "full_path": "name"}}], None)])

    def known() -> list[Any]:
        places = [place_of(query, "namespace", 28), place_of(query, "project", 28)]
        return [*places, query("SELECT username FROM users")[0]["username"]]

    say(-ahead or 9)
    everything: list[Any] = [("27/28/", "name"), ("27/28/", "name"), "root"]
    assert known() == everything
    run("forget", kind, "28")
    without = list(everything)
    without[["namespace", "project", "user"].index(kind)] = None
    assert known() == without
    say(8)
    say(7, "3/28/")
    assert known()[["namespace", "project", "user"].index(kind)] is None
    say(-0.1 - ahead)
    assert known() == everything
    assert [(row["command"], row["kind"]) for row in query(CHANGES)] == [("forget", kind)]


def test_a_name_is_set_where_it_was_stated_or_in_one_namespace(consumer: Consumer, query: Query) -> None:
    for path in ("27/", "3/"):
        said = event(9, user={"id": 5, "username": "root"}, user_id=None, namespace_path=path)
        consumer.consume([batch([said], None)])
    names = "SELECT namespace_path, username FROM user_names ORDER BY namespace_path"
    run("set", "user", "5", "--username", "new")
    assert [row["username"] for row in query(names)] == ["new", "new"]
    run("set", "user", "5", "--username", "other", "--namespace", "3/")
    assert [row["username"] for row in query(names)] == ["new", "other"]
    assert run("set", "user", "6", "--username", "first", "--namespace", "3/") == "user 6: username first\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("namespace", "28"),
        ("namespace", "28", "--path", "27/"),
        ("namespace", "28", "--path", "27/28"),
        ("project", "28", "--username", "root"),
        ("project", "28", "--full-path", "27/28/"),
        ("user", "28", "--path", "27/28/"),
        ("user", "28", "--username", "root", "--namespace", "27"),
        ("user", "0", "--username", "root"),
    ],
)
def test_what_can_not_be_set_is_refused(arguments: tuple[str, ...]) -> None:
    run("set", *arguments, exit_code=2)
