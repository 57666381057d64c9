"""Uses the deployed stack as producers, readers and operators do."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from functions.ingest.message.origin import ATTRIBUTE, Origin
from functions.shared.identifier import derived_id
from infra.local import deploy
from tests.e2e.conftest import Stack
from tests.support import plain_http

STORED_WITHIN_SECONDS = 60


def post(
    stack: Stack, body: Any, token: str | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> httpx.Response:
    """Sends events over HTTPS, as JSON unless the headers say otherwise; a header with an empty value is left out."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    all_headers = {"Authorization": f"Bearer {token or stack.token}", "Content-Type": "application/json", **headers}
    sent = {name: value for name, value in all_headers.items() if value}
    return plain_http.post(f"{stack.api_url}/v1/events", content=content, headers=sent, timeout=60)


def publish(stack: Stack, *bodies: bytes | Any) -> None:
    """Publishes messages directly on the queue."""
    client = stack.sqs()
    for body in bodies:
        text = body.decode() if isinstance(body, bytes) else json.dumps(body)
        client.send_message(QueueUrl=stack.queue_url, MessageBody=text)


def publish_bad(stack: Stack, *bodies: bytes) -> list[UUID]:
    """Publishes events that the consumer must reject, and returns the ids that their rows will have."""
    client = stack.sqs()
    ids = []
    for body in bodies:
        origin = Origin(str(uuid4()), datetime.now(UTC).replace(microsecond=0))
        attributes: Any = {ATTRIBUTE: origin.attribute}
        client.send_message(QueueUrl=stack.queue_url, MessageBody=body.decode(), MessageAttributes=attributes)
        ids.append(derived_id(origin.sent_at, f"rejected/{origin.message_id}", 0))
    return ids


def graphql(stack: Stack, query: str, token: str | None = None, **variables: Any) -> Any:
    """Returns the data of GraphQL's answer."""
    return answer_of(stack, query, token, **variables)["data"]


def answer_of(stack: Stack, query: str, token: str | None = None, **variables: Any) -> Any:
    """Returns GraphQL's whole answer."""
    response = plain_http.post(
        f"{stack.api_url}/graphql",
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Bearer {token or stack.token}"},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    answer = response.json()
    assert "errors" not in answer, answer
    return answer


def rows(stack: Stack, statement: str, *values: Any) -> list[Any]:
    """Returns the rows of a SQL query."""
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute(statement, values).fetchall()


def rejected_codes(stack: Stack, ids: Collection[UUID]) -> dict[UUID, str]:
    """Returns the codes of the rejected events with these ids, by id."""
    return dict(rows(stack, "SELECT id, code FROM rejected_events WHERE id = ANY(%s)", list(ids)))


def consumer_log(stack: Stack) -> list[Any]:
    """Returns the consumer's log without its metrics."""
    lines = (stack.folder / "log" / "aws.log").read_text(errors="replace").splitlines()
    said = (json.loads(line) for line in lines if line.startswith("{"))
    return [line for line in said if line.get("service") == "consumer" and "_aws" not in line]


def logged(stack: Stack, log_group: str) -> list[str]:
    """Returns the lines of a log group, which is named as in the template."""
    formation, logs = (deploy.client(service, stack.aws_endpoint_url) for service in ("cloudformation", "logs"))
    detail = formation.describe_stack_resource(StackName=deploy.STACK, LogicalResourceId=log_group)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=detail["StackResourceDetail"]["PhysicalResourceId"]
    )
    return [event["message"] for page in pages for event in page["events"]]


def eventually(look: Callable[[], Any], wanted: Any, seconds: float = STORED_WITHIN_SECONDS) -> None:
    """Calls `look` until it returns the expected value, then once more in case more follows."""
    give_up = time.monotonic() + seconds
    while (seen := look()) != wanted and time.monotonic() < give_up:
        time.sleep(0.5)
    assert seen == wanted
    time.sleep(1)
    assert look() == wanted


def usage_events(stack: Stack, *arguments: str) -> str:
    """Returns the command's output in the stack's folder, where the command finds the stack."""
    command = [sys.executable, "-m", "infra.cli", *arguments]
    folder = stack.folder.parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
