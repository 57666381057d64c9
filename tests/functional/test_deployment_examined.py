"""A deployment that can't work fails with a sentence that names the cause, before it changes anything."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
from psycopg import sql

from infra import deployment
from infra.doctor import postgres
from infra.local import ports
from infra.migrations.handler import MigrationsHandler
from tests.support.database_roles import Roles, database_roles
from tests.support.lambda_context import FakeContext
from tests.support.tls_front import Authority, tls_front

REQUEST = {
    "RequestType": "Create",
    "StackId": "stack",
    "RequestId": "request",
    "LogicalResourceId": "Migrations",
    "ResponseURL": "https://answer",
}


@pytest.fixture
def roles(postgres_server: str) -> Iterator[Roles]:
    with database_roles(postgres_server) as roles:
        yield roles


@pytest.fixture
def environment(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings of a deployment that works."""
    for name, url in (("DATABASE", roles.owner), ("DATABASE_WRITER", roles.writer), ("DATABASE_READER", roles.reader)):
        monkeypatch.setenv(f"{name}_URL", url)
    return monkeypatch


def deployed(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Returns status and reason of the answer to CloudFormation."""
    answers: list[Any] = []
    handler = cast("MigrationsHandler", deployment.handler)
    replace(handler, send=lambda _, answer: answers.append(answer))(REQUEST, FakeContext())
    (answer,) = answers
    return answer["Status"], answer["Reason"]


def tables(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchall()


def without_create(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = sql.Identifier(str(urlsplit(roles.owner).username))
    with psycopg.connect(roles.owner, autocommit=True) as connection:
        connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(owner))


def too_old(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "MIN_VERSION", 99)


def wrong_password(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", roles.owner.replace(":secret@", ":other@"))


def closed_port(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    port = urlsplit(roles.owner).port
    monkeypatch.setenv("DATABASE_URL", roles.owner.replace(f":{port}/", f":{ports.free()}/"))


def unknown_host(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://one:two@nowhere.invalid/events")


def another_database(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{roles.owner}_of_others")


def no_setting(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")


CAUSES = {
    without_create: "PostgreSQL, owner: privileges: may not create tables in its schema, as the migrations do. Make",
    too_old: "PostgreSQL: version: 18. Upgrade the server to 99 or later.",
    wrong_password: "PostgreSQL, owner: login: ",
    closed_port: "can't be reached: Connection refused. Start the server, or correct its address and port.",
    unknown_host: "Network: PostgreSQL: nowhere.invalid has no address. Correct the name of the host",
    another_database: "PostgreSQL, owner: login: ",
    no_setting: "Settings: database: DATABASE_URL or DATABASE_SECRET_ARN must be set",
}


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_a_deployment_that_can_not_work_names_the_cause_and_changes_nothing(
    cause: Any, roles: Roles, environment: pytest.MonkeyPatch
) -> None:
    cause(roles, environment)
    status, reason = deployed(environment)
    assert status == "FAILED"
    assert CAUSES[cause] in reason
    assert tables(roles.owner) == []


def test_a_deployment_that_can_work_is_not_held_up(roles: Roles, environment: pytest.MonkeyPatch) -> None:
    assert deployed(environment) == ("SUCCESS", "")
    assert ("ai_usage_events",) in tables(roles.owner)
    assert deployed(environment) == ("SUCCESS", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "the secret that DATABASE_SECRET_ARN names can't be read"),
        ('{"username": "one", "password": "two"}', "DATABASE_HOST"),
        ("{", "DATABASE_SECRET_ARN"),
    ],
    ids=["missing", "without an address", "malformed"],
)
def test_a_wrong_secret_is_named(text: str | None, reason: str, aws: None, environment: pytest.MonkeyPatch) -> None:
    manager = boto3.client("secretsmanager")
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-abcdef"
    if text is not None:
        arn = manager.create_secret(Name="database", SecretString=text)["ARN"]
    environment.delenv("DATABASE_URL")
    environment.setenv("DATABASE_SECRET_ARN", arn)
    status, found = deployed(environment)
    assert status == "FAILED"
    assert found.startswith("Settings: database: ")
    assert reason in found


def test_a_server_that_can_not_prove_who_it_is_is_named(
    roles: Roles, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, strangers = (Authority.made_in(tmp_path, name) for name in ("ours", "strangers"))
    with tls_front(roles.owner, ours.server(tmp_path, "127.0.0.1")) as url:
        environment.setenv("DATABASE_URL", url)
        environment.setenv("DATABASE_SSLMODE", "verify-full")
        environment.setenv("DATABASE_CA", strangers.certificate.read_text())
        status, reason = deployed(environment)
    assert status == "FAILED"
    assert "PostgreSQL, owner: TLS: " in reason
    assert "DATABASE_CA" in reason


def test_what_could_not_be_known_is_logged_and_stops_nothing(
    roles: Roles, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment.delenv("DATABASE_WRITER_URL")
    environment.delenv("DATABASE_READER_URL")
    assert deployed(environment)[0] == "SUCCESS"
    assert any(message.startswith("Settings: writer: not set") for message in caplog.messages)


def test_one_server_of_several_that_answers_is_enough(roles: Roles, environment: pytest.MonkeyPatch) -> None:
    port = urlsplit(roles.owner).port
    for name, url in (("DATABASE", roles.owner), ("DATABASE_WRITER", roles.writer), ("DATABASE_READER", roles.reader)):
        environment.setenv(f"{name}_URL", url.replace(f":{port}/", f":{ports.free()},127.0.0.1:{port}/"))
    assert deployed(environment) == ("SUCCESS", "")
