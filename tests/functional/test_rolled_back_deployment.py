"""A rollback is answered before PostgreSQL is asked, and then adapts what it can to the older release."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import boto3
import psycopg
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError, ConnectTimeoutError

from functions.shared import settings
from infra.migrations.budget import Unfinished
from infra.migrations.handler import MigrationsHandler, build
from infra.migrations.not_ready import NotReady
from infra.migrations.stack_status import stack_status
from tests.support.database_roles import Roles, database_roles
from tests.support.lambda_context import FakeContext
from tests.support.logged import logged_to

UPDATE = {
    "RequestType": "Update",
    "StackId": "stack",
    "RequestId": "request",
    "LogicalResourceId": "Migrations",
    "ResponseURL": "https://answer",
}
ROLLBACK = "UPDATE_ROLLBACK_IN_PROGRESS"
AWAY = NotReady("Network: PostgreSQL: can't be reached")


@dataclass
class Deployment:
    """What CloudFormation sees of a request, in order.

    Attributes:
        status: the stack's status, or the error that asking for it raises.
        fault: what the migrations raise; None if they succeed.
        seen: `asked`, `migrated`, and the status of each answer.
        seconds: time that the migrations have.
        log: what the function logs.
    """

    status: str | Exception
    fault: Exception | None = None
    seen: list[str] = field(default_factory=list)
    seconds: int = 0
    log: io.StringIO = field(default_factory=io.StringIO)

    def handle(self, request: dict[str, Any]) -> None:
        with logged_to(self.log):
            MigrationsHandler(Logger(), self._migrate, self._send, status=self._status)(request, FakeContext())

    def logged(self) -> dict[str, Any]:
        """Returns the only line of the log."""
        (line,) = self.log.getvalue().splitlines()
        return dict(json.loads(line))

    def _migrate(self, seconds: int, _: Callable[[str], None]) -> None:
        self.seen.append("migrated")
        self.seconds = seconds
        if self.fault is not None:
            raise self.fault

    def _send(self, _: str, answer: dict[str, Any]) -> None:
        self.seen.append(answer["Status"])

    def _status(self, _: str) -> str:
        self.seen.append("asked")
        if isinstance(self.status, Exception):
            raise self.status
        return self.status


DENIED = ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeStacks")
NO_WAY = ConnectTimeoutError(endpoint_url="https://cloudformation.us-east-1.amazonaws.com")


@pytest.mark.parametrize(
    ("request_type", "status", "seen"),
    [
        ("Update", ROLLBACK, ["asked", "SUCCESS", "migrated"]),
        ("Update", "UPDATE_IN_PROGRESS", ["asked", "migrated", "FAILED"]),
        ("Update", DENIED, ["asked", "migrated", "FAILED"]),
        ("Update", NO_WAY, ["asked", "migrated", "FAILED"]),
        ("Create", "CREATE_IN_PROGRESS", ["migrated", "FAILED"]),
        ("Delete", "ROLLBACK_IN_PROGRESS", ["SUCCESS"]),
        ("Delete", "DELETE_IN_PROGRESS", ["SUCCESS"]),
    ],
    ids=str,
)
def test_only_a_rollback_succeeds_without_postgresql(
    request_type: str, status: str | Exception, seen: list[str]
) -> None:
    deployment = Deployment(status, AWAY)
    deployment.handle(UPDATE | {"RequestType": request_type})
    assert deployment.seen == seen


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (AWAY, "Network: PostgreSQL: can't be reached"),
        (Unfinished("the time ended"), "the time ended"),
        (psycopg.errors.CheckViolation("of a row"), "CheckViolation 23514"),
        (KeyError("of a row"), "KeyError"),
    ],
    ids=str,
)
def test_a_rollback_logs_what_it_left_out_and_why(fault: Exception, reason: str) -> None:
    deployment = Deployment(ROLLBACK, fault)
    deployment.handle(UPDATE)
    line = deployment.logged()
    assert line["message"].startswith("The rollback left roles, definitions and partitions as they are")
    assert line["reason"] == reason
    assert "of a row" not in str(line)


def test_a_status_that_can_not_be_read_is_logged() -> None:
    deployment = Deployment(DENIED)
    deployment.handle(UPDATE)
    line = deployment.logged()
    assert "can't be asked whether this is a rollback" in line["message"]
    assert line["reason"] == "ClientError AccessDenied"


@pytest.mark.parametrize(("status", "seconds"), [(ROLLBACK, 30), ("UPDATE_IN_PROGRESS", 100)])
def test_what_follows_a_rollback_ends_before_the_next_deployment(status: str, seconds: int) -> None:
    deployment = Deployment(status)
    deployment.handle(UPDATE)
    assert deployment.seconds == seconds


def test_what_is_examined_takes_of_the_time_after_a_rollback(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0

    def examine(_: Callable[[str], None]) -> None:
        nonlocal now
        now += 31

    monkeypatch.setenv("DATABASE_URL", database_url)
    built = build(settings.database_url, settings.retention_months, examine, lambda: now)
    with pytest.raises(Unfinished):
        built.migrate(30, print)


def test_migrations_that_go_on_are_of_no_rollback() -> None:
    deployment = Deployment(ROLLBACK)
    deployment.handle(UPDATE | {"BegunAt": 0})
    assert "asked" not in deployment.seen


@pytest.fixture
def roles(postgres_server: str) -> Iterator[Roles]:
    with database_roles(postgres_server) as roles:
        yield roles


def test_a_rollback_gives_the_roles_their_former_passwords(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    roles.migrate()
    Roles(roles.owner, roles.writer.replace(":secret@", ":newer@"), roles.reader).migrate()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(roles.writer)
    for name, url in (("DATABASE", roles.owner), ("DATABASE_WRITER", roles.writer), ("DATABASE_READER", roles.reader)):
        monkeypatch.setenv(f"{name}_URL", url)
    built = build(settings.database_url, settings.retention_months)
    MigrationsHandler(Logger(), built.migrate, lambda *_: None, status=lambda _: ROLLBACK)(UPDATE, FakeContext())
    psycopg.connect(roles.writer).close()


def test_the_status_of_a_stack_is_read_by_its_id(aws: None) -> None:
    template = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}})
    with closing(boto3.client("cloudformation")) as client:
        stack_id = client.create_stack(StackName="events", TemplateBody=template)["StackId"]
    assert stack_status(stack_id) == "CREATE_COMPLETE"
    with pytest.raises(ClientError):
        stack_status(f"{stack_id}x")
