"""`usage-events reprocess` as an operator uses it, by the very commands of its page."""

import re
import shlex
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from infra.cli import app
from tests.functional.test_sync import insert
from tests.support import documentation
from tests.support.clock import NOW
from tests.support.documentation import DOCS

PAGE = DOCS / "howto" / "reprocess.md"
FINISHED = 24  # finish_mcp_tool_call
WRONG, RIGHT = {"session_id": "s1", "tool_name": "read"}, {"mcp_session_id": "s1", "tool_name": "read"}


@pytest.fixture(autouse=True)
def here(database_url: str, clickhouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)


def run(command: str, exit_code: int = 0) -> str:
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/usage-events"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == exit_code, result.output
    return result.output


def payloads(connection: psycopg.Connection) -> list[object]:
    return [row[0] for row in connection.execute("SELECT payload FROM ai_usage_events ORDER BY id")]


def test_the_commands_of_the_page_show_change_compare_and_undo(connection: psycopg.Connection) -> None:
    for _ in range(2):
        insert(connection, WRONG, event=FINISHED)
    look, change, copy, compare, look_back, undo, *rest = [
        command.text for command in documentation.commands(PAGE.read_text())
    ]
    shown = run(look)
    assert "Nothing was changed" in shown
    assert "session_id" in shown
    assert payloads(connection) == [WRONG, WRONG]
    assert "Run 1 changed 2 events in all" in run(change)
    assert payloads(connection) == [RIGHT, RIGHT]
    run(copy)
    assert "equal" in run(compare)
    assert run(look_back).startswith("2 events would be as they were before the run.")
    assert payloads(connection) == [RIGHT, RIGHT]
    assert run(undo).startswith("2 events are as they were before the run.")
    assert payloads(connection) == [WRONG, WRONG]
    for command in rest:
        run(command)


def test_what_a_run_was_asked_for_by_whom_and_what_it_did_stays(connection: psycopg.Connection) -> None:
    insert(connection, WRONG, event=FINISHED)
    run(".venv/bin/usage-events reprocess --feature mcp --apply --save before.ndjson --by ann")
    run(".venv/bin/usage-events reprocess --undo before.ndjson --apply --by bob")
    rows = connection.execute(
        "SELECT kind, requested_by, request ->> 'events', counts ->> 'changed', counts ->> 'put_back'"
        " FROM reprocessings WHERE finished_at IS NOT NULL ORDER BY number"
    ).fetchall()
    assert rows == [("apply", "ann", "[23, 24]", "1", None), ("undo", "bob", None, None, "1")]
    assert Path("before.ndjson").stat().st_mode & 0o777 == 0o600


def test_time_namespace_and_user_select_the_events_that_change(connection: psycopg.Connection) -> None:
    ours, path = {"event": FINISHED, "user_id": 5}, "27/28/"
    wanted = insert(connection, WRONG, **ours, namespace_path=path)
    for more in ({"namespace_path": "29/"}, {"namespace_path": path, "timestamp": NOW - timedelta(days=9)}):
        insert(connection, WRONG, **ours | more)
    insert(connection, WRONG, event=FINISHED, user_id=6, namespace_path=path)
    limits = f"--start 2d --end {NOW + timedelta(hours=1):%FT%TZ} --namespace 27/ --user 5 --user 7"
    assert "Read 1 events" in run(f".venv/bin/usage-events reprocess --event finish_mcp_tool_call {limits}")
    run(f".venv/bin/usage-events reprocess --event finish_mcp_tool_call {limits} --apply --save before.ndjson")
    changed = connection.execute("SELECT id FROM ai_usage_events WHERE payload ? 'mcp_session_id'").fetchall()
    assert changed == [(wanted,)]


def test_status_names_the_commands_that_go_on_with_what_was_interrupted(connection: psycopg.Connection) -> None:
    insert(connection, WRONG, event=FINISHED)
    assert "Unfinished" not in run(".venv/bin/usage-events status")
    asked = "--feature mcp --namespace 27/ --user 1 --may-lack 'a b' --once --apply --save before.ndjson --by ann"
    run(f".venv/bin/usage-events reprocess {asked}")
    run(".venv/bin/usage-events reprocess --undo before.ndjson --apply")
    connection.execute("UPDATE reprocessings SET finished_at = NULL")
    connection.execute("INSERT INTO refills VALUES (2, 'a table', '{}', 1)")
    connection.execute("INSERT INTO refilled_months VALUES (2, '2026-11-01', now(), 700)")
    said = run(".venv/bin/usage-events status")
    assert "700 restored" in said
    refill, change, undo = re.findall("^Go on: (.*)$", said, re.MULTILINE)
    assert refill == "usage-events refill"
    connection.execute("DELETE FROM refills")
    assert "Went on with run 1" in run(f".venv/bin/{change.replace('FILE', 'before.ndjson')}")
    run(f".venv/bin/{undo}")
    assert "Unfinished" not in run(".venv/bin/usage-events status")
    assert connection.execute("SELECT count(*) FROM reprocessings").fetchone() == (2,)


def test_months_that_postgresql_no_longer_has_are_refused_with_the_first_it_has() -> None:
    said = run(".venv/bin/usage-events reprocess --event finish_mcp_tool_call --start 400d", 1)
    (first,) = set(re.findall(r"--start ([-0-9]{10})", said))
    assert f"PostgreSQL has no events before {first}" in " ".join(said.split())
    run(f".venv/bin/usage-events reprocess --event finish_mcp_tool_call --start {first}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name an event or a feature"),
        ("--event nothing", "no definition names the event 'nothing'"),
        ("--feature nothing", "no definition names the feature 'nothing'"),
        ("--feature mcp --apply", "name a file with --save"),
        ("--feature mcp --namespace acme", "is not like 27/28/"),
        ("--feature mcp --start yesterday", "is neither a date or time like"),
        ("--feature mcp --user 0", "Invalid value for '--user'"),
        ("--feature mcp --undo before.ndjson", "from the file"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(arguments: str, message: str) -> None:
    assert message in " ".join(run(f".venv/bin/usage-events reprocess {arguments}", 2).replace("│", " ").split())


@pytest.mark.parametrize(("content", "message"), [(None, "can't be read"), ("{}\n", "line 1"), ("no\n", "no JSON")])
def test_a_file_that_is_none_is_named(content: str | None, message: str) -> None:
    if content is not None:
        Path("file").write_text(content)
    assert message in run(".venv/bin/usage-events reprocess --undo file", 1)
