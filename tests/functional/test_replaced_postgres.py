"""Another PostgreSQL takes the place of the first: restored to a moment, loaded from a dump, or replicated.

The tests run the very commands of the page; those of AWS are compared with its service descriptions.
"""

import json
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import psycopg
import pytest
from botocore import xform_name
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from typer.testing import CliRunner

from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.shared import secret, settings
from functions.sync import marks
from functions.sync.analysis import Analysis
from functions.sync.error import SyncError
from functions.sync.sync import Sync
from infra.cli import app
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.functional.test_sync import SECONDS, in_clickhouse, in_postgres, insert
from tests.support import documentation
from tests.support.consuming import Queues
from tests.support.documentation import DOCS
from tests.support.replacing_postgres import Primary, environment, primary, restored, running

PAGE = DOCS / "howto" / "restore.md"
RETENTION_MONTHS = 3


@pytest.fixture
def old(open_folder: Path) -> Iterator[Primary]:
    """The first server."""
    with primary(open_folder / f"old-{time.monotonic_ns()}", RETENTION_MONTHS) as server:
        yield server


class System:
    """Consumer and sync, whose database a secret names, and the operator's shell."""

    def __init__(self, queues: Queues, clickhouse_url: str) -> None:
        self.queues = queues
        self.secrets = boto3.client("secretsmanager")
        self.sync = Sync(settings.database_source(), clickhouse_url)
        self.handler: ConsumerHandler = build(
            database_url=settings.database_source(), retention_months=RETENTION_MONTHS
        )
        self.sent, self.passed = 0, 0.0

    def send(self, count: int) -> set[UUID]:
        """Publishes events; returns their ids."""
        numbers = range(self.sent + 1, self.sent + count + 1)
        self.sent += count
        for number in numbers:
            event = {"event": "request_duo_chat_response", "id": str(UUID(int=number)), "user_id": number}
            event |= {"timestamp": datetime.now(UTC).isoformat(), "namespace_path": "27/28/"}
            self.queues.send(json.dumps(event))
        return {UUID(int=number) for number in numbers}

    def store(self, count: int) -> set[UUID]:
        """Publishes events and lets the consumer store them; returns their ids."""
        ids = self.send(count)
        self.consume()
        return ids

    def consume(self) -> None:
        """Lets the consumer store what waits."""
        self.queues.consume(self.handler)
        assert self.queues.records() == []

    def later(self) -> None:
        """Lets a minute pass, after which the functions read the secret again if a connection fails."""
        self.passed += 60


@pytest.fixture
def system(
    aws: None, old: Primary, queues: Queues, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[System]:
    """The system on the first server."""
    arn = boto3.client("secretsmanager").create_secret(Name="ai-usage-events-database", SecretString=old.url)["ARN"]
    monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
    system = System(queues, clickhouse_url)
    monkeypatch.setattr(secret, "monotonic", lambda: time.monotonic() + system.passed)
    with closing(system.handler.consumer.database):
        yield system


def put_in(url: str, statement: str, *values: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def stored(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return in_postgres(connection)


class Shell:
    """Runs the commands of a section of the page one after another."""

    def __init__(self, heading: str, old: str, new: str) -> None:
        self.heading, self.old, self.new, self.folder = heading, old, new, Path(tempfile.mkdtemp())
        self._commands = iter(documentation.commands(documentation.section(PAGE, heading)))

    def peek(self) -> str:
        """Takes the next command without running it."""
        return next(self._commands).text

    def run(self, beginning: str, exit_code: int = 0) -> str:
        """Runs the next command, which begins so."""
        command = self.peek()
        assert command.startswith(beginning), command
        return self.run_text(command, exit_code)

    def run_text(self, command: str, exit_code: int = 0) -> str:
        """Runs a command."""
        if command.startswith("aws "):
            return _call_aws(command.replace("$NEW", self.new).replace("\\\n", " "))
        if command.startswith(".venv/bin/usage-events "):
            result = CliRunner().invoke(app, shlex.split(command)[1:])
            assert result.exit_code == exit_code, result.output
            return result.output
        done = subprocess.run(
            ["bash", "-ec", command],
            env=environment(self.old, self.new),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == exit_code, done.stderr
        return done.stdout

    def end(self) -> None:
        """Nothing of the section is left."""
        shutil.rmtree(self.folder)
        assert [command.text for command in self._commands] == []


def _call_aws(command: str) -> str:
    """Checks a command against AWS's description of the operation; carries it out on secrets only."""
    last = ""
    _, service, name, *words = shlex.split(command)
    client: Any = boto3.client(service)  # type: ignore[call-overload]
    operation = client.meta.method_to_api_mapping[name.replace("-", "_")]
    members = client.meta.service_model.operation_model(operation).input_shape
    by_option = {_option(member): member for member in members.members}
    given: dict[str, Any] = {}
    for word in words:
        if word.startswith("--no-"):
            given[by_option[word.removeprefix("--no-")]] = False
        elif word.startswith("--"):
            given[last := by_option[word.removeprefix("--")]] = True
        else:
            given[last] = word
    assert set(members.required_members) <= given.keys()
    if service == "secretsmanager":
        client.put_secret_value(**given)
    return ""


def _option(member: str) -> str:
    """The option of a parameter, like `db-cluster-identifier` of `DBClusterIdentifier`."""
    return str(xform_name(member, "-"))


def test_after_a_restore_to_a_moment_nothing_is_hidden_lost_or_twice(
    system: System, old: Primary, clickhouse_url: str, client: Client, open_folder: Path
) -> None:
    first = system.store(6)
    system.sync.run(SECONDS)
    backup = open_folder / f"restored-{time.monotonic_ns()}"
    old.back_up(backup)
    second = system.store(3)
    system.sync.run(SECONDS)
    moment = old.now()
    third = system.store(4)
    put_in(old.url, "UPDATE ai_usage_events SET namespace_path = '31/' WHERE id = %s", UUID(int=1))
    put_in(old.url, "UPDATE ai_usage_events SET payload = '{\"n\": 1}' WHERE id = %s", UUID(int=2))
    put_in(old.url, "DELETE FROM ai_usage_events WHERE id = %s", UUID(int=3))
    Eraser(old.url, clickhouse_url).erase(Subject("user", "4"), "a test")
    system.sync.run(SECONDS)
    Analysis(old.url, clickhouse_url).run(SECONDS)
    last = stored(old.url)
    old.archive_everything()
    with restored(backup, old.folder / "archive", moment) as new:
        before = stored(new)
        assert {row[0] for row in before} == first | second
        shell = Shell("PostgreSQL is restored to a moment", old.url, new)
        shell.run("aws lambda")
        waiting = system.send(2)
        shell.run("aws rds restore-db-cluster-to-point-in-time")
        shell.run("aws rds create-db-instance")
        shell.run("aws secretsmanager")
        old.stop()
        system.later()
        assert "usage-events refill" in shell.run_text(".venv/bin/usage-events verify --repair", exit_code=1)
        put_in(new, "SELECT 1 / (SELECT count(*) = 0 FROM removed_keys)::int")  # ClickHouse's events stay
        for _ in range(2):
            with pytest.raises(SyncError, match=r"earlier moment.*usage-events refill"):
                system.sync.run(SECONDS)
        said = shell.run_text(".venv/bin/usage-events status").replace("│", " ")
        assert "run `usage-events refill` to bring back what only ClickHouse has" in " ".join(said.split())
        shell.run(".venv/bin/usage-events migrate")
        assert f"{moment:%Y-%m}: 4 events" in shell.run(".venv/bin/usage-events refill")
        told = shell.run(".venv/bin/usage-events refill")
        assert "\n4 events of 1 months were restored.\n" in told
        assert "usage-events user erase 4" in told
        shell.run("aws lambda")
        system.consume()
        shell.run(".venv/bin/usage-events sync")
        shell.run(".venv/bin/usage-events verify")
        shell.end()
        here = stored(new)
        assert {row[0] for row in here} == first | second | third | waiting
        assert [row for row in here if row[0] in third] == [row for row in last if row[0] in third]
        assert [row for row in here if row[0] in first | second] == before
        assert in_clickhouse(client) == here


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_dump_is_loaded_into_another_server_while_events_wait(
    epoch: int, system: System, old: Primary, client: Client, open_folder: Path, tmp_path: Path
) -> None:
    before = system.store(5)
    system.sync.run(SECONDS)
    with running(open_folder / f"loaded-{time.monotonic_ns()}", epoch) as new:
        shell = Shell("PostgreSQL is moved by dump and load", old.url, new)
        shell.run("aws lambda")
        waiting = system.send(2)
        shell.run("pg_dump")
        shell.run("pg_restore")
        shell.run("aws secretsmanager")
        old.stop()
        system.later()
        shell.run(".venv/bin/usage-events migrate")
        shell.run("aws lambda")
        system.consume()
        put_in(new, "UPDATE ai_usage_events SET payload = '{\"n\": 1}' WHERE id = %s", UUID(int=2))
        with pytest.raises(SyncError, match=r"restored.*sync --reset"):
            system.sync.run(SECONDS)
        shell.run(".venv/bin/usage-events sync --reset")
        shell.run(".venv/bin/usage-events verify")
        shell.end()
        assert {row[0] for row in stored(new)} == before | waiting
        assert in_clickhouse(client) == stored(new)
        assert system.store(1) <= {row[0] for row in stored(new)}


def test_a_loaded_server_whose_numbers_have_caught_up_is_noticed_all_the_same(
    system: System, old: Primary, client: Client, open_folder: Path
) -> None:
    system.store(2)
    system.sync.run(SECONDS)
    with running(open_folder / f"loaded-{time.monotonic_ns()}") as new:
        shell = Shell("PostgreSQL is moved by dump and load", old.url, new)
        for beginning in ("aws lambda", "pg_dump", "pg_restore", "aws secretsmanager"):
            shell.run(beginning)
        put_in(new, "INSERT INTO ai_usage_events SELECT gen_random_uuid(), now(), 6, 1, NULL, '{}'")
        highest = (
            "(SELECT max(xact_id) FROM (SELECT xact_id FROM ai_usage_events UNION SELECT xact_id FROM sync_state))"
        )
        with psycopg.connect(new, autocommit=True) as connection:
            while connection.execute(f"SELECT pg_current_xact_id() > {highest}").fetchone() == (False,):
                pass
        with pytest.raises(SyncError, match=r"another server.*sync --reset"):
            Sync(new, system.sync.clickhouse_url).run(SECONDS)
        system.sync = Sync(new, system.sync.clickhouse_url)
        system.sync.reset(SECONDS)
        system.sync.run(SECONDS)
        assert in_clickhouse(client) == stored(new)


def test_a_server_that_was_filled_by_logical_replication_takes_over(
    system: System, old: Primary, client: Client, open_folder: Path
) -> None:
    first = system.store(5)
    system.sync.run(SECONDS)
    with running(open_folder / f"green-{time.monotonic_ns()}") as new:
        shell = Shell("PostgreSQL is replaced by logical replication", old.url, new)
        shell.run("aws rds create-blue-green-deployment")
        shell.run("aws rds switchover-blue-green-deployment")
        for beginning in ("psql", "pg_dump", "psql", "psql"):
            shell.run(beginning)
        eventually_zero(shell, "psql")
        second = system.store(3)
        put_in(old.url, "UPDATE ai_usage_events SET namespace_path = '31/' WHERE id = %s", UUID(int=1))
        put_in(
            old.url, "UPDATE ai_usage_events SET timestamp = timestamp - interval '40 days' WHERE id = %s", UUID(int=2)
        )
        put_in(old.url, "DELETE FROM ai_usage_events WHERE id = %s", UUID(int=3))
        eventually_zero(shell, "psql")
        system.sync.run(SECONDS)
        shell.run("aws lambda")
        waiting = system.send(2)
        eventually_zero(shell, "psql")
        assert stored(new) == stored(old.url)
        for _ in range(3):
            shell.run("psql")
        shell.run("aws secretsmanager")
        old.stop()
        system.later()
        shell.run(".venv/bin/usage-events migrate")
        shell.run("aws lambda")
        system.consume()
        with pytest.raises(SyncError, match=r"restored.*sync --reset"):
            system.sync.run(SECONDS)
        shell.run(".venv/bin/usage-events sync --reset")
        shell.run(".venv/bin/usage-events verify")
        shell.end()
        assert {row[0] for row in stored(new)} == (first | second | waiting) - {UUID(int=3)}
        assert in_clickhouse(client) == stored(new)
        erased = CliRunner().invoke(app, ["user", "erase", "4", "--yes"])
        assert erased.exit_code == 0, erased.output


def test_only_runs_that_copy_count_and_a_missed_count_does_no_harm(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(connection)
    for _ in range(2):
        sync.run(SECONDS)
        assert connection.execute("SELECT mark FROM sync_state").fetchall() == [(1,)]
    insert(connection)
    with monkeypatch.context() as patched:
        patched.setattr(marks, "_TELL", "SELECT throwIf(1)")
        with pytest.raises(ClickHouseError):
            sync.run(SECONDS)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    assert client.query("SELECT max(mark) FROM ai_usage_sync_marks").result_rows[0][0] == 3
    connection.execute("UPDATE sync_state SET mark = 2")
    with pytest.raises(SyncError, match=r"earlier moment.*sync --reset"):
        sync.run(SECONDS)
    client.command("TRUNCATE TABLE ai_usage_events")  # the next epoch is higher all the same
    for _ in range(2):
        sync.reset(SECONDS)
        sync.run(SECONDS)
        assert in_clickhouse(client) == in_postgres(connection)


def test_every_table_can_be_replicated(connection: psycopg.Connection) -> None:
    without = connection.execute(
        """
        SELECT relname
        FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
          AND relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)
        """
    ).fetchall()
    assert without == []


def eventually_zero(shell: Shell, beginning: str) -> None:
    """Repeats the next command until it prints 0."""
    command = shell.peek()
    give_up = time.monotonic() + 60
    while shell.run_text(command).strip() != "0":
        assert time.monotonic() < give_up
        time.sleep(0.2)
    assert command.startswith(beginning)
