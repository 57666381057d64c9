"""A release, the one before, and the release again, deployed over each other while events flow."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import clickhouse_connect
import httpx
import msgspec
import pytest

from infra import stack_file
from infra.local import deploy
from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, graphql, post, publish, rows, usage_events
from tests.support import checkout, local_stack, newer_release
from tests.support.environment import without_the_callers_system

OWN = {"event": "request_duo_chat_response", "user_id": 1}
NEW = {"event": newer_release.EVENT, "user_id": 1, "channel_name": "a"}
PAUSE_SECONDS = 0.2
IN_BOTH_STORES_WITHIN_SECONDS = 120

# Runs in the folder of a release, whose code it imports.
DEPLOY = """
import sys
from pathlib import Path
from infra.local import deploy

folder, endpoint, *parameters = sys.argv[1:]
folder = Path(folder)
deploy.build(folder, folder / "build.log", for_this_machine=True)
outputs = deploy.update(folder, endpoint, dict(one.split("=", 1) for one in parameters), folder / "deploy.log")
deploy.enable_binary_bodies(endpoint, outputs["ApiId"])
"""
SECRETS = {
    "DatabaseSecretArn": deploy.DATABASE_SECRET,
    **{parameter: f"{deploy.DATABASE_SECRET}-{role}" for parameter, role in deploy.DATABASE_ROLES.items()},
    "AuthSecretArn": "ai-usage-events-auth",
    "AuthRevocationsArn": deploy.REVOKED_TOKENS,
    "ClickHouseSecretArn": "ai-usage-events-clickhouse",
}


class Releases(NamedTuple):
    """A running stack of the older release, and the folders of both releases."""

    stack: Stack
    older: Path
    newer: Path

    def deploy(self, release: Path) -> None:
        """Deploys a release over what is deployed."""
        manager = deploy.client("secretsmanager", self.stack.aws_endpoint_url)
        arns = {name: manager.describe_secret(SecretId=secret)["ARN"] for name, secret in SECRETS.items()}
        parameters = [f"{name}={arn}" for name, arn in arns.items()]
        command = [sys.executable, "-c", DEPLOY, str(release / ".local"), self.stack.aws_endpoint_url, *parameters]
        environment = without_the_callers_system(os.environ)
        done = subprocess.run(command, cwd=release, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class Flow(threading.Thread):
    """Sends an event by HTTPS and one by the queue, again and again, and notes what was answered.

    Attributes:
        accepted: ids of the events that were accepted or published.
        refused: answers to events that were not accepted.
    """

    def __init__(self, stack: Stack, event: dict[str, Any]) -> None:
        super().__init__()
        self._stack = stack
        self._event = event
        self._end = threading.Event()
        self.accepted: list[str] = []
        self.refused: list[str] = []

    def run(self) -> None:
        while not self._end.wait(PAUSE_SECONDS):
            sent, published = (self._event | {"id": str(uuid4())} for _ in range(2))
            answer = self._answer(sent)
            if answer is not None and answer.status_code == 202:
                self.accepted.append(sent["id"])
            elif answer is not None:
                self.refused.append(answer.text)
            publish(self._stack, published)
            self.accepted.append(published["id"])

    def _answer(self, event: dict[str, Any]) -> httpx.Response | None:
        """Sends the event again, as producers do, until it is judged; returns None if the flow is to end."""
        while not self._end.is_set():
            with suppress(httpx.TransportError):
                answer = post(self._stack, event)
                if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:  # which asks to send it again
                    return answer
            self._end.wait(PAUSE_SECONDS)
        return None

    def stop(self) -> None:
        """Ends the flow, and waits for its last answer."""
        self._end.set()
        self.join()


@pytest.fixture(scope="module")
def releases(open_folder: Path) -> Iterator[Releases]:
    """This checkout as the older release, deployed, and a copy with one migration and one feature more as the newer."""
    older, newer = checkout.copy(open_folder / "older"), checkout.copy(open_folder / "newer")
    newer_release.write(newer)
    folder = older / ".local"
    with local_stack.running(older) as process:
        running = msgspec.json.decode((folder / "stack.json").read_bytes(), type=stack_file.Stack)
        stack = Stack(**msgspec.structs.asdict(running), folder=folder, process_id=process.pid)
        yield Releases(stack, older, newer)


def test_a_release_rolled_back_and_deployed_again_loses_and_refuses_nothing(releases: Releases) -> None:
    stack = releases.stack
    own = Flow(stack, OWN)
    own.start()
    kept: list[str] = []
    try:
        releases.deploy(releases.newer)
        assert schema(stack) == newer_release.REVISION
        new = Flow(stack, NEW)
        new.start()
        eventually(lambda: bool(rows(stack, STORED_NEW)), wanted=True)
        releases.deploy(releases.older)
        new.stop()
        kept = new.accepted
        assert all("unknown_event" in answer for answer in new.refused)
        assert post(stack, NEW).json()["rejected"][0]["code"] == "unknown_event"
        assert schema(stack) == newer_release.REVISION
        assert graphql(stack, "{ aiInstanceUsageData { all { nodes { id } } } }")
        releases.deploy(releases.newer)
        assert post(stack, NEW).status_code == 202
    finally:
        own.stop()
    assert own.refused == []
    eventually(lambda: missing(stack, own.accepted), set())
    eventually(lambda: missing(stack, kept) - rejected(stack), set())
    usage_events(stack, "rejected", "replay", "--code", "unknown_event", "--event", newer_release.EVENT)
    eventually(lambda: missing(stack, kept), set())
    everything = {*own.accepted, *kept}
    eventually(lambda: everything - in_clickhouse(stack), set(), IN_BOTH_STORES_WITHIN_SECONDS)
    assert rows(stack, "SELECT count(*) FROM rejected_events WHERE replayed_at IS NULL") == [(0,)]


STORED_NEW = f"SELECT FROM ai_usage_events WHERE event = {newer_release.EVENT_ID}"


def schema(stack: Stack) -> str:
    ((revision,),) = rows(stack, "SELECT version_num FROM alembic_version")
    return str(revision)


def missing(stack: Stack, ids: list[str]) -> set[str]:
    return {*ids} - {str(found) for (found,) in rows(stack, "SELECT id FROM ai_usage_events")}


def rejected(stack: Stack) -> set[str]:
    return {str(found) for (found,) in rows(stack, "SELECT event_id FROM rejected_events")} | {
        json.loads(body).get("id") for (body,) in rows(stack, "SELECT body FROM rejected_events")
    }


def in_clickhouse(stack: Stack) -> set[str]:
    with clickhouse_connect.get_client(dsn=stack.clickhouse_url) as client:
        return {str(found) for (found,) in client.query("SELECT id FROM ai_usage_events FINAL").result_rows}
