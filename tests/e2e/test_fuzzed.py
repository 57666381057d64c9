"""Malformed and unusual bodies through the deployed stack, over HTTPS and the queue."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from functions.ingest.message.origin import ATTRIBUTE, Origin
from infra.operations.dead_letters import count
from tests.e2e.conftest import Stack
from tests.e2e.use import STORED_WITHIN_SECONDS, consumer_log, eventually, rows
from tests.support import plain_http
from tests.support.clock import NOW
from tests.support.fuzzed_bodies import VARIANTS, HttpsRequest, https_requests
from tests.support.fuzzed_messages import as_sqs_takes_it, messages
from tests.support.ways_in import ways_in

COUNT = 1_000 if os.environ.get("SOAK") else 100
AT_ONCE = 8
WITHIN_SECONDS = STORED_WITHIN_SECONDS + COUNT / 10

NOWHERE = """
    SELECT accepted_id
    FROM unnest(%s) AS accepted (accepted_id)
    WHERE
        NOT EXISTS (SELECT FROM ai_usage_events WHERE ai_usage_events.id = accepted_id)
        AND NOT EXISTS (SELECT FROM rejected_events WHERE strpos(rejected_events.body, accepted_id::text) > 0)
"""
STORED = "SELECT DISTINCT id FROM ai_usage_events"
REJECTED = "SELECT id FROM rejected_events"
AMONG = " WHERE id = ANY(%s)"


def drawn[Value](strategy: SearchStrategy[list[Value]]) -> list[Value]:
    """Returns `COUNT` values, of which some are sent in several variants."""
    values: list[Value] = []

    @settings(
        max_examples=COUNT // VARIANTS,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(some: list[Value]) -> None:
        values.extend(some)

    draw()
    return values


def at_once[Value, Result](do: Callable[[Value], Result], values: Iterable[Value]) -> list[Result]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(do, values))


def test_no_request_is_answered_by_an_error_of_ours_and_what_is_accepted_is_kept(stack: Stack) -> None:
    def send(request: HttpsRequest) -> httpx.Response:
        headers = {name: value.strip() for name, value in request.headers.items() if may_be_sent(value)}
        url = f"{stack.api_url}{request.path}"
        return plain_http.post(url, content=request.body.text, headers=headers | credentials, timeout=60)

    credentials = {"Authorization": f"Bearer {stack.token}"}
    accepted: list[UUID] = []
    for response in at_once(send, drawn(https_requests)):
        assert response.status_code < 500, response.text
        answer = response.json()
        if "ids" in answer:
            ids = [UUID(identifier) for identifier in answer["ids"] if identifier is not None]
            assert answer["accepted"] == len(ids)
            assert answer["accepted"] + answer["ignored"] + len(answer["rejected"]) == len(answer["ids"])
            accepted += ids
    assert accepted
    never_sent = uuid4()
    eventually(lambda: rows(stack, NOWHERE, [*accepted, never_sent]), [(never_sent,)], WITHIN_SECONDS)


def may_be_sent(value: str) -> bool:
    """Whether HTTP allows the header's value."""
    return value.isascii() and value.isprintable()


def test_each_message_becomes_what_it_does_without_a_stack(stack: Stack, database_url: str) -> None:
    sent = [(as_sqs_takes_it(body.text), str(uuid4())) for body in drawn(messages)]
    with ways_in(database_url) as ways:
        for text, message_id in sent:
            ways.consume(text, message_id=message_id)
    with psycopg.connect(database_url) as connection:
        stored, rejected = (ids(connection.execute(find).fetchall()) for find in (STORED, REJECTED))
    assert stored
    assert rejected

    def send(message: tuple[str, str]) -> None:
        text, message_id = message
        origin: Any = {ATTRIBUTE: Origin(message_id, NOW).attribute}  # so that its events get the same ids
        client.send_message(QueueUrl=stack.queue_url, MessageBody=text, MessageAttributes=origin)

    def found() -> tuple[set[UUID], set[UUID]]:
        return ids(rows(stack, STORED + AMONG, list(stored))), ids(rows(stack, REJECTED + AMONG, list(rejected)))

    client = stack.sqs()
    eventually(lambda: count(client, stack.queue_url), 0)
    before = (count(client, stack.dlq_url), len(consumer_log(stack)))
    at_once(send, sent)
    eventually(found, (stored, rejected), WITHIN_SECONDS)
    eventually(lambda: count(client, stack.queue_url), 0)  # what failed is there for 90 seconds
    assert count(client, stack.dlq_url) == before[0]
    consumed = consumer_log(stack)[before[1] :]
    assert [line["level"] for line in consumed] == ["INFO"] * len(consumed)
    assert sum(line["messages"] for line in consumed) == len(sent)


def ids(found: Iterable[tuple[UUID]]) -> set[UUID]:
    return {identifier for (identifier,) in found}
