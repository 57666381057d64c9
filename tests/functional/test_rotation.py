"""Passwords and signing secrets that are rotated while functions stay warm."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import psycopg
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.ingest.consumer_handler import build
from functions.shared import clickhouse, postgres, secret, settings, signing_secrets
from functions.shared.auth import Authenticator, Unauthenticated
from functions.shared.postgres import Database, TimeLimits, connect
from functions.sync.sync import Sync
from infra.local.process import Processes
from infra.local.stack import _start_clickhouse_on, start_clickhouse
from infra.operations.token import sign
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.erasing import message
from tests.support.rotation import END_SESSIONS, RotatedLogin

LIMITS = TimeLimits(10, 10)
RECOVERY_SECONDS = 60
OLD, NEW, NEWEST = ("x" * 40, "y" * 40, "z" * 40)


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (secret, signing_secrets):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def login(aws: None, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RotatedLogin]:
    """A role whose secret the settings name."""
    with psycopg.connect(database_url, autocommit=True) as administration:
        login = RotatedLogin.made(administration)
        for name, value in login.environment(database_url).items():
            monkeypatch.setenv(name, value)
        yield login
        administration.execute(f"REASSIGN OWNED BY {login.role} TO CURRENT_USER")
        administration.execute(END_SESSIONS, [login.role])
        administration.execute(f"DROP ROLE {login.role}")


def role_of(connection: psycopg.Connection) -> Any:
    return connection.execute("SELECT current_user").fetchone()


def test_a_warm_function_connects_again_with_the_rotated_password(login: RotatedLogin) -> None:
    database = Database(settings.database_source(), LIMITS)
    for _ in range(3):
        assert database.run(role_of) == (login.role,)
        login.store(login.change_password())
    database.close()


def test_a_password_that_the_secret_has_a_moment_later_is_waited_for(login: RotatedLogin) -> None:
    source = settings.database_source()
    text = login.change_password()
    later = threading.Timer(2, login.store, [text])
    later.start()
    with connect(source, LIMITS) as connection:
        assert role_of(connection) == (login.role,)
    later.join()


def test_a_wrong_password_fails_after_the_seconds_that_a_rotation_takes(
    login: RotatedLogin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_ROTATION_SECONDS", 0)
    source = settings.database_source()
    login.change_password()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(source, LIMITS)


def test_a_server_that_is_away_is_not_waited_for(login: RotatedLogin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PORT", "1")
    monkeypatch.setattr("functions.shared.postgres.time.sleep", lambda _: pytest.fail("it was waited for"))
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(settings.database_source(), LIMITS)


def test_a_secret_is_read_again_after_its_time_though_no_login_failed(login: RotatedLogin, clock: Clock) -> None:
    database = Database(settings.database_source(), LIMITS)
    assert database.run(role_of) == (login.role,)
    other = RotatedLogin.made(login.administration)
    text = other.change_password()
    login.store(text)
    assert database.run(role_of) == (login.role,)
    clock.passed = secret.FRESH_SECONDS
    assert database.run(role_of) == (other.role,)
    database.close()
    login.administration.execute(f"DROP ROLE {other.role}")


@pytest.mark.parametrize("fault", ["deleted", "malformed"])
def test_a_secret_that_can_not_be_read_again_keeps_its_value(fault: str, login: RotatedLogin, clock: Clock) -> None:
    source = settings.database_source()
    assert isinstance(source, secret.Secret)
    before = source.current()
    if fault == "deleted":
        boto3.client("secretsmanager").delete_secret(SecretId=login.arn, ForceDeleteWithoutRecovery=True)
    else:
        login.store("{}")
    clock.passed = secret.FRESH_SECONDS
    assert source.current() == before
    assert source.read_again() == before


def test_no_event_is_lost_and_none_waits_long_while_a_password_is_rotated(login: RotatedLogin) -> None:
    handler = build(database_url=settings.database_source(), retention_months=3)
    sent, stop, slowest = list[str](), threading.Event(), [0.0]

    def produce() -> None:
        while not stop.is_set():
            identifier = str(uuid4())
            event = {
                "id": identifier,
                "event": "request_duo_chat_response",
                "user_id": 1,
                "timestamp": NOW.isoformat(),
            }
            record, started = message(event), time.monotonic()
            sent.append(identifier)
            while consume(handler, record):
                time.sleep(0.1)
            slowest[0] = max(slowest[0], time.monotonic() - started)

    producer = threading.Thread(target=produce)
    producer.start()
    for delay in (0, 1, 3):
        time.sleep(0.5)
        text = login.change_password()
        time.sleep(delay)
        login.store(text)
    time.sleep(0.5)
    stop.set()
    producer.join()
    handler.consumer.database.close()
    stored = login.administration.execute("SELECT id::text FROM ai_usage_events").fetchall()
    assert sorted(identifier for (identifier,) in stored) == sorted(sent)
    assert slowest[0] < RECOVERY_SECONDS


@pytest.fixture
def signing(aws: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stores the secrets that sign tokens."""
    manager: Any = boto3.client("secretsmanager")
    monkeypatch.setenv("AUTH_SECRET_ARN", manager.create_secret(Name="signing", SecretString=OLD)["ARN"])

    def store(*secrets: str) -> None:
        manager.put_secret_value(SecretId="signing", SecretString=json.dumps(secrets))

    return store


def is_accepted(authenticator: Authenticator, signed_with: str) -> bool:
    token = sign(signed_with, "1", ["events:read"], ["27/"], timedelta(minutes=5))
    with suppress(Unauthenticated):
        return authenticator.grant({"Authorization": f"Bearer {token}"}).sub == "1"
    return False


def test_new_tokens_are_accepted_at_once_and_old_ones_until_their_secret_goes(
    signing: Callable[..., None], clock: Clock
) -> None:
    authenticator = Authenticator(settings.auth())
    assert is_accepted(authenticator, OLD)
    signing(NEW, OLD)
    clock.passed = secret.SECONDS_PER_ATTEMPT
    assert is_accepted(authenticator, NEW)
    assert is_accepted(authenticator, OLD)
    signing(NEW)
    clock.passed += secret.FRESH_SECONDS
    assert not is_accepted(authenticator, OLD)
    assert is_accepted(authenticator, NEW)


def test_tokens_with_wrong_signatures_seldom_cause_a_read(
    signing: Callable[..., None], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(settings.auth())
    reads = list[str]()

    def read(_: object) -> str:
        reads.append(OLD)
        return OLD

    monkeypatch.setattr(secret.Secret, "_read", read)
    for second in range(60):
        clock.passed = second
        assert not is_accepted(authenticator, NEWEST)
    assert 2 <= len(reads) <= 2 + 60 / 10


class RotatedClickHouse:
    """A server whose password changes, and the secret that holds its URL."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, Processes(folder / "processes.json")
        self.url = start_clickhouse(folder, folder / "clickhouse.log", self.processes)
        manager: Any = boto3.client("secretsmanager")
        self.arn = manager.create_secret(Name="clickhouse", SecretString=self.url)["ARN"]

    def change_password(self) -> None:
        """Starts the server again on the same port and data, with a new password."""
        self.processes.stop()
        (self.folder / "clickhouse_password").write_text(f"changed-{uuid4().hex}")
        port = int(urlsplit(self.url).port or 0)
        self.url = _start_clickhouse_on(port, self.folder, self.folder / "clickhouse.log", self.processes)

    def store(self) -> None:
        """Stores the present URL as the secret's current version."""
        manager: Any = boto3.client("secretsmanager")
        manager.put_secret_value(SecretId=self.arn, SecretString=self.url)


@pytest.fixture
def rotated(aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RotatedClickHouse]:
    rotated = RotatedClickHouse(tmp_path)
    monkeypatch.setenv("CLICKHOUSE_SECRET_ARN", rotated.arn)
    yield rotated
    rotated.processes.stop()


def test_warm_readers_and_the_sync_go_on_with_the_rotated_password_of_clickhouse(
    rotated: RotatedClickHouse, database_url: str, insert: Callable[..., str]
) -> None:
    source = settings.clickhouse_source()
    assert source is not None
    sync, reader = Sync(database_url, source), clickhouse.KeptReader(source, 10)
    insert()
    assert sync.run(30).rows == 1
    count = "SELECT count() FROM ai_usage_events"
    assert reader.query(count).result_rows == [(1,)]
    rotated.change_password()
    with pytest.raises(ClickHouseError, match="516"):
        reader.query(count)
    rotated.store()
    time.sleep(secret.SECONDS_PER_ATTEMPT)
    assert reader.query(count).result_rows == [(1,)]
    insert()
    assert sync.run(30).rows == 1
    assert reader.query(count).result_rows == [(2,)]
    reader.close()
