import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import jwt
import psycopg
import pytest
from graphql import build_schema
from typer.testing import CliRunner

from functions.shared.partitions import make_partitions
from infra.cli import app
from infra.cli.terminal import ASK_DOCTOR, NOT_MIGRATED
from tests.support import checkout
from tests.support.checkout import ROOT
from tests.support.consuming import Queues
from tests.support.definitions import CONFLICT


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_definition_is_listed_by_id() -> None:
    lines = [line for line in run("definitions", "list").splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert [int(row[0]) for row in cells] == [*range(1, 39), 46, 1001, 1002]
    assert cells[6] == ["7", "troubleshoot_job", "troubleshoot_job", "pipeline-execution", ""]
    assert cells[0][4] == "yes"


def test_definitions_that_fit_are_counted() -> None:
    assert run("definitions", "check") == "41 events in 17 features are consistent.\n"


CHANGED = """
import datetime
from definitions import Feature, Payload

class Job(Payload):
    job_id: str | None = None

feature = Feature("troubleshoot_job", owner="pipeline-execution", payload=Job)
feature.events(troubleshoot_job=7, troubleshoot_again=130)
"""


def run_changed(tmp_path: Path, database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a copy of the project with another definition of jobs."""
    copy = tmp_path / "checkout"
    if not copy.exists():
        checkout.copy(copy)
        (copy / "definitions" / "troubleshoot_job.py").write_text(CHANGED)
    command = [sys.executable, "-m", "infra.cli", "definitions", *arguments]
    environment = os.environ | {"DATABASE_URL": database_url, "PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


DIFFERENCES = """\
+ event troubleshoot_again (130) of troubleshoot_job
~ payload key job_id changes from int to str
    1 stored row would be affected: the field answers null, and a condition of type str does not find the value.
    A deployment refuses this unless told to accept job_id:str. Instead, keep the type, and add a key of another name.
- payload key merge_request_id (int) of troubleshoot_job
    Stored values stay in `payload`, without a field.
- payload key pipeline_id (int) of troubleshoot_job
    Stored values stay in `payload`, without a field.
- payload key project_id (int) of troubleshoot_job
    Stored values stay in `payload`, without a field.
~ payload key job_id of troubleshoot_job becomes optional
"""


def test_definitions_are_compared_with_those_deployed(
    tmp_path: Path, connection: psycopg.Connection, database_url: str
) -> None:
    unaffected = run_changed(tmp_path, database_url, "check")
    assert unaffected.returncode == 0
    assert "job_id changes from int to str\n    No stored rows are affected.\n" in unaffected.stdout
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        """ VALUES (gen_random_uuid(), now(), 7, 1, '{"job_id": 5}')"""
    )
    assert run_changed(tmp_path, database_url, "diff").stdout == DIFFERENCES
    refused = run_changed(tmp_path, database_url, "check")
    assert refused.returncode == 1
    assert "to job_id:str\npayload key job_id changes from int to str" in refused.stderr
    assert run_changed(tmp_path, database_url, "check", "--offline").returncode == 0
    assert run_changed(tmp_path, "postgresql://127.0.0.1:1/none", "check").returncode == 1


@pytest.mark.parametrize(
    ("name", "url", "reason", "advice"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", "Connection refused. Is the server", ASK_DOCTOR),
        ("DATABASE_URL", "postgresql://no-such-host.invalid/none", "failed to resolve host", ASK_DOCTOR),
        ("DATABASE_URL", "{server}/template1", "a table does not exist", NOT_MIGRATED),
        ("CLICKHOUSE_URL", "clickhouse://127.0.0.1:1/none", "ClickHouse at 127.0.0.1:1 does not answer", ASK_DOCTOR),
    ],
    ids=["away", "no host", "no tables", "ClickHouse away"],
)
def test_an_error_of_a_store_says_what_to_do(
    name: str,
    url: str,
    reason: str,
    advice: str,
    database_url: str,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv(name, url.format(server=database_url.rpartition("/")[0]))
    result = CliRunner().invoke(app, ["verify"])
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert reason in first
    assert second == advice


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("contract --day yesterday", "--day: 'yesterday' is not a day like 2026-11-20"),
        ("contract --day 2026-13-01", "--day: '2026-13-01' is not a day like 2026-11-20"),
        ("contract --day 2999-01-01", "--day: 2999-01-01 is not over: name a day before"),
        ("contract --day 0001-01-01", "--day: 0001-01-01 is before 1970-01-01"),
        ("tenants --bill 1e400", "--bill: '1e400' is not an amount like 1234.50"),
        ("export --start soon", "--start: 'soon' is not a day like 2026-11-20"),
        ("export --start 2026-11-30 --end 2026-11-01", "--end 2026-11-01 is before --start 2026-11-30"),
        ("export --event none", "--event: Value 'NONE' does not exist"),
        ("export --not-feature none", "--not-feature: Value 'NONE' does not exist"),
        ("export --user abc", "--user: 'abc' is not a user's id"),
        ("export --payload text", "--payload must be JSON like"),
        (
            "rejected list --since once",
            "--since: 'once' is neither a date or time like 2026-11-20, nor an age like 30m,",
        ),
        ("token create --scope events:read --sub=", "--sub: the API refuses a token without a user"),
        ("token create --sub 1 --scope read", "--scope: 'read' is none of events:read, events:read:own, events:write,"),
        ("token revoke --jti x --before 1h", "--before: goes with --sub"),
        ("load --url nothing", "--url: 'nothing' is not an address like https://api.example.com"),
        ("verify --keep-extra", "--keep-extra: goes with --repair"),
        ("tenants --per-gibibyte -3", "--per-gibibyte: '-3' is not an amount like 1234.50"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(
    command: str, said: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command.split())
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    "command", ["user export 5 --output", "namespace export 27/ --output", "load --url http://127.0.0.1:1 --csv"]
)
def test_a_file_that_can_not_be_written_is_explained(
    command: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("USAGE_EVENTS_TOKEN", "token")
    result = CliRunner().invoke(app, [*command.split(), "/nowhere/file"])
    assert (result.exit_code, result.stderr) == (1, "/nowhere/file can't be written: there is no such folder\n")


def test_definitions_that_are_deployed_do_not_differ(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert run("definitions", "diff") == "The definitions are those that are deployed.\n"
    assert run("definitions", "check") == "41 events in 17 features are consistent.\n"


def test_the_printed_schema_is_one_and_the_file_has_it() -> None:
    printed = run("schema")
    assert build_schema(printed).query_type is not None
    assert (ROOT / "functions/graphql/schema.graphql").read_text() == printed, "make schema prints it anew"


SECRET = "a secret of thirty-two characters, at least"
ARGUMENTS = ["token", "create", "--sub", "5", "--scope", "events:read", "--scope", "events:write"]


def claims(token: str) -> dict[str, object]:
    return jwt.decode(token.strip(), SECRET, algorithms=["HS256"])


@pytest.mark.parametrize("kept_in", ["the stack", "AUTH_SECRET", "AUTH_SECRET_ARN"])
def test_a_token_is_signed_with_the_secret_of_the_settings_or_of_the_running_stack(
    kept_in: str, tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    (tmp_path / ".local").mkdir()
    of_stack = SECRET if kept_in == "the stack" else "another secret of thirty-two characters or more"
    (tmp_path / ".local" / "stack.json").write_text(json.dumps({"auth_secret": of_stack}))
    if kept_in == "AUTH_SECRET":
        monkeypatch.setenv("AUTH_SECRET", f" {SECRET}\n")
    elif kept_in == "AUTH_SECRET_ARN":
        kept = boto3.client("secretsmanager").create_secret(Name="auth", SecretString=f"{SECRET}\n")
        monkeypatch.setenv("AUTH_SECRET_ARN", kept["ARN"])
    created = claims(run(*ARGUMENTS, "--namespace", "27/", "--namespace", "*", "--expires", "30d"))
    assert (created["sub"], created["scope"], created["namespaces"]) == ("5", "events:read events:write", ["27/", "*"])


@pytest.mark.parametrize(("namespaces", "fits"), [(400, True), (500, False)])
def test_a_token_that_does_not_fit_into_headers_is_printed_with_a_warning(
    namespaces: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    named = [argument for number in range(namespaces) for argument in ("--namespace", f"1234567/{1000 + number}/")]
    result = CliRunner().invoke(app, [*ARGUMENTS, *named])
    assert result.exit_code == 0
    assert len(claims(result.stdout)["namespaces"]) == namespaces  # type: ignore[arg-type]
    assert ("10,240 bytes of headers" not in result.stderr) is fits


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*ARGUMENTS, "--namespace", "27/28"], "27/28"),
        ([*ARGUMENTS, "--scope", "everything"], "everything"),
        ([*ARGUMENTS, "--expires", "soon"], "soon"),
        (ARGUMENTS, "AUTH_SECRET"),
    ],
)
def test_a_token_that_can_not_be_made_is_explained(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert said in result.output


def test_definitions_that_conflict_are_refused_with_the_names_of_both_files(tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "checkout")
    (copy / "definitions" / "conflicting.py").write_text(CONFLICT)
    result = subprocess.run(
        [sys.executable, "-m", "infra.cli", "definitions", "check"],
        cwd=copy,
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "definitions/conflicting.py and definitions/troubleshoot_job.py" in result.stderr


@pytest.fixture
def addresses(database_url: str, clickhouse_url: str) -> dict[str, str]:
    """Environment variables of an operator of a deployed system, without a queue."""
    return {"DATABASE_URL": database_url, "CLICKHOUSE_URL": clickhouse_url, "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def store(database_url: str) -> Callable[..., None]:
    """Stores an event."""

    def store(timestamp: str = "now()", user_id: int = 1) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
                " VALUES (gen_random_uuid(), %s::timestamptz, 6, %s, '{}')",
                [timestamp, user_id],
            )

    return store


def call(environment: dict[str, str], *arguments: str) -> Any:
    with patch.dict(os.environ):  # in which the commands set what they find
        return CliRunner().invoke(app, arguments, env=environment)


@pytest.mark.parametrize(
    "command",
    ["status", "sync", "verify", "export", "rejected list", "directory show user 1", "dlq show", "definitions diff"],
)
def test_a_command_without_a_system_says_how_to_start_or_name_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call({"DATABASE_URL": "", "CLICKHOUSE_URL": ""}, *command.split())
    assert result.exit_code == 1
    assert "make start" in result.output
    assert "DATABASE_URL" in result.output


def test_sync_copies_what_is_there_and_status_tells_of_it(
    addresses: dict[str, str], store: Callable[..., None]
) -> None:
    store()
    store(user_id=-1)
    before = call(addresses, "status")
    assert before.exit_code == 0, before.output
    assert "has no table yet" in before.output
    synced = call(addresses, "sync")
    assert synced.exit_code == 0, synced.output
    assert "1 row was copied" in synced.output
    assert "in ClickHouse, except 1 refused row in rejected_events" in synced.output
    after = call(addresses, "status").output
    for said in ("cursor", "watermark", "complete up to", "lag", "none is open", "refused_by_clickhouse"):
        assert said in after
    assert (
        "Of the refused rows, ClickHouse accepted 0 and refused 1 again." in call(addresses, "sync", "--replay").output
    )
    assert "1 row was copied" in call(addresses, "sync", "--reset").output


def test_sync_that_can_not_say_that_all_is_there_exits_with_the_reason(
    addresses: dict[str, str], store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cli.main.WAIT_SECONDS", 1)
    with psycopg.connect(addresses["DATABASE_URL"]) as open_transaction:
        open_transaction.execute("SELECT pg_current_xact_id()")
        store()
        result = call(addresses, "sync")
        assert result.exit_code == 1
        assert f"process {open_transaction.info.backend_pid}, open since" in result.output
        assert f"process {open_transaction.info.backend_pid}" in call(addresses, "status").output
    off = call(addresses | {"CLICKHOUSE_URL": ""}, "sync")
    assert (off.exit_code, off.output) == (1, "ClickHouse is disabled: CLICKHOUSE_URL is not set\n")
    away = call(addresses | {"CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/x"}, "sync")
    assert away.exit_code == 1
    assert "127.0.0.1:1" in away.output
    assert "can't be reached" in call(addresses | {"CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/x"}, "status").output


def test_retention_says_what_it_would_do_and_does_it(addresses: dict[str, str], database_url: str) -> None:
    old = date(2020, 1, 1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        make_partitions(connection, [old])
    for arguments, said in (
        (["--dry-run"], "ai_usage_events_202001: would be dropped"),
        ([], "ai_usage_events_202001: dropped"),
    ):
        result = call(addresses, "retention", *arguments)
        assert result.exit_code == 0, result.output
        assert said in result.output
    assert "202001" not in call(addresses, "retention").output


def test_status_shows_how_much_waits_in_the_queues(addresses: dict[str, str], queues: Queues) -> None:
    queues.bury("{}")
    queues.send(*["{}"] * 7)
    lines = call(addresses | {"QUEUE_URL": queues.url}, "status").output.splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert ["events", "7", "0", "0"] in cells
    assert ["dead letters", "1", "0", "0"] in cells
    away = call(addresses | {"QUEUE_URL": queues.url, "DATABASE_URL": "postgresql://a@127.0.0.1:1/x"}, "status")
    assert (away.exit_code, "127.0.0.1" in away.output) == (1, True)
    assert "│ events       │ 7       │ 0         │ 0       │" in away.output


@pytest.mark.parametrize("named", [False, True])
def test_commands_use_the_checkouts_stack_unless_a_database_is_set(
    named: bool, addresses: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.json").write_text(
        json.dumps(
            {
                "database_url": addresses["DATABASE_URL"],
                "clickhouse_url": addresses["CLICKHOUSE_URL"],
                "queue_url": "http://127.0.0.1:1/queue",
                "aws_endpoint_url": "http://127.0.0.1:1",
            }
        )
    )
    monkeypatch.chdir(tmp_path)
    result = call({"DATABASE_URL": "postgresql://127.0.0.1:1/none"} if named else {"DATABASE_URL": ""}, "sync")
    assert result.exit_code == (1 if named else 0), result.output
