"""The database's password and the signing secret are rotated while producers send, and nothing is deployed again."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from secrets import token_urlsafe
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
import pytest
from psycopg import sql

from functions.shared.grant import EVERYTHING, READ, WRITE
from infra.local import deploy
from infra.operations.token import sign
from tests.e2e.conftest import Stack
from tests.e2e.faults import visibility_timeout
from tests.e2e.use import eventually, post, publish, rows

RECOVERY_SECONDS = 60
SECONDS_BEFORE_ROTATION = 3
DELIVERED_AGAIN_AFTER_SECONDS = 10
OTHER_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> %s"
STORED = "SELECT id::text FROM ai_usage_events WHERE user_id = %s"


class Rotation:
    """Changes the secrets of a stack as an operator or RDS does."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.manager = deploy.client("secretsmanager", stack.aws_endpoint_url)
        self.connection = psycopg.connect(stack.database_url, autocommit=True)

    def change_password(self, password: str, url: str) -> None:
        """Changes the password of the functions' role, ends their sessions, and stores the new URL a moment later."""
        role = sql.Identifier(self.connection.info.user)
        self.connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
        self.connection.execute(OTHER_SESSIONS, [self.connection.info.backend_pid])
        time.sleep(1)
        self.manager.put_secret_value(SecretId="ai-usage-events-database", SecretString=url)

    def store_signing(self, *secrets: str) -> None:
        """Stores the secrets that may have signed a token, the newest first."""
        self.manager.put_secret_value(SecretId="ai-usage-events-auth", SecretString=json.dumps(secrets))


@pytest.fixture
def rotation(stack: Stack) -> Iterator[Rotation]:
    """The secrets of the stack, which has its own ones again afterwards."""
    rotation = Rotation(stack)
    try:
        yield rotation
    finally:
        rotation.change_password(str(urlsplit(stack.database_url).password), stack.database_url)
        rotation.manager.put_secret_value(SecretId="ai-usage-events-auth", SecretString=stack.auth_secret)
        rotation.connection.close()


class Load:
    """Producers that send one event at a time, over HTTPS and on the queue, until they are stopped."""

    def __init__(self, stack: Stack, user_id: int) -> None:
        self.stack, self.user_id, self.token = stack, user_id, stack.token
        self.accepted: list[str] = []
        self.refused: list[int] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sends while the block runs."""
        threads = [threading.Thread(target=send) for send in (self._post, self._publish)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _events(self) -> Iterator[dict[str, object]]:
        for _ in itertools.takewhile(lambda _: not self._stop.is_set(), itertools.count()):
            yield {"event": "request_duo_chat_response", "id": str(uuid4()), "user_id": self.user_id}

    def _post(self) -> None:
        for event in self._events():
            answer = post(self.stack, event, self.token)
            if answer.status_code == 202:
                self.accepted.append(str(event["id"]))
            else:
                self.refused.append(answer.status_code)

    def _publish(self) -> None:
        for event in self._events():
            publish(self.stack, event)
            self.accepted.append(str(event["id"]))
            time.sleep(0.2)


def workers(stack: Stack, function: str) -> set[int]:
    """Returns the ids of the processes that run a function."""
    found = set()
    for process in psutil.Process(stack.process_id).children(recursive=True):
        with suppress(psutil.Error):
            if function in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_password_and_signing_secret_are_rotated_under_load(
    stack: Stack, rotation: Rotation, user_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    load, signing = Load(stack, user_id), [stack.auth_secret, token_urlsafe(40)]
    parts = urlsplit(stack.database_url)
    assert post(stack, {"event": "request_duo_chat_response", "user_id": user_id + 1}).status_code == 202
    eventually(lambda: rows(stack, "SELECT count(*) FROM ai_usage_events WHERE user_id = %s", user_id + 1), [(1,)])
    warm = {name: workers(stack, name) for name in ("IngestFunction", "ConsumerFunction")}
    with visibility_timeout(stack, DELIVERED_AGAIN_AFTER_SECONDS), load.running():
        time.sleep(SECONDS_BEFORE_ROTATION)
        for _ in range(2):
            password = token_urlsafe(40)
            netloc = f"{parts.username}:{password}@{parts.hostname}:{parts.port}"
            rotation.change_password(password, parts._replace(netloc=netloc).geturl())
            time.sleep(SECONDS_BEFORE_ROTATION)
        rotation.store_signing(*reversed(signing))
        load.token = sign(signing[1], "1", [READ, WRITE], [EVERYTHING], timedelta(hours=1))
        time.sleep(SECONDS_BEFORE_ROTATION)
        rotation.store_signing(signing[1])
        time.sleep(SECONDS_BEFORE_ROTATION)
    assert load.refused == []
    assert len(load.accepted) > 10
    look = lambda: {identifier for (identifier,) in rotation.connection.execute(STORED, [user_id])}  # noqa: E731
    begin = time.monotonic()
    eventually(look, set(load.accepted), RECOVERY_SECONDS)
    with capsys.disabled():
        print(f"All {len(load.accepted)} events were stored {time.monotonic() - begin:.1f} s after the last of them.")
    for name, before in warm.items():
        assert before & workers(stack, name), f"{name} was started again"
