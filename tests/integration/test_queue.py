"""Events through a real queue, from the HTTPS handler or a producer to PostgreSQL."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_api
from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.ingest.event.event import read_attributes
from functions.shared import queue
from functions.shared.grant import EVERYTHING, WRITE
from functions.shared.settings import AuthSettings
from infra.operations.token import sign
from tests.integration.conftest import MAX_RECEIVE_COUNT
from tests.integration.delivery import Handler, LocalStackQueues
from tests.support.lambda_context import FakeContext

SECRET = "a secret of thirty-two characters, at least"
RETENTION_MONTHS = 3
MAX_MESSAGE_BYTES = 1024 * 1024
REDRIVE_SECONDS = 20


@pytest.fixture
def api(queues: LocalStackQueues) -> IngestHandler:
    """The HTTPS handler, which sends to the queue."""
    return build_api(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=RETENTION_MONTHS)


@pytest.fixture
def unreachable() -> Iterator[Handler]:
    """The consumer's handler while PostgreSQL is down."""
    handler = build(database_url="postgresql://nobody@127.0.0.1:1/nothing", retention_months=RETENTION_MONTHS)
    yield handler
    handler.consumer.database.close()


def event(**attributes: Any) -> dict[str, Any]:
    return {"event": "request_duo_chat_response", "id": str(uuid4()), "user_id": 1} | attributes


def post(api: IngestHandler, events: list[dict[str, Any]]) -> tuple[int, Any]:
    token = sign(SECRET, "1", [WRITE], [EVERYTHING], timedelta(minutes=5))
    answer = api({"headers": {"authorization": f"Bearer {token}"}, "body": json.dumps(events)}, FakeContext())
    return answer["statusCode"], json.loads(answer["body"])


def stored(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        return sorted(str(identifier) for (identifier,) in connection.execute("SELECT id FROM ai_usage_events"))


def test_what_is_accepted_by_https_is_stored_from_the_queue(
    api: IngestHandler, consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    status, answer = post(api, [event(), event(event="unknown"), event(), event()])
    assert (status, answer["accepted"]) == (207, 3)
    assert stored(database_url) == []
    queues.deliver_all(consumer)
    assert stored(database_url) == sorted(filter(None, answer["ids"]))
    assert queues.waiting(queues.url) == 0


def test_a_request_of_megabytes_becomes_several_messages_and_loses_nothing(
    api: IngestHandler, consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    events = [event(note="x" * 3000) for _ in range(1000)]
    status, answer = post(api, events)
    assert (status, answer["accepted"]) == (202, 1000)
    assert len(queues.deliver_all(consumer)) > 10
    assert stored(database_url) == sorted(sent["id"] for sent in events)


def test_a_message_of_just_a_mebibyte_is_stored_and_one_byte_more_is_not_taken(
    consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    events = [event(note="x" * 60_000) for _ in range(17)]
    body = json.dumps(events).encode().ljust(MAX_MESSAGE_BYTES)
    assert queue.send(queues.sqs, queues.url, [body + b" "]) == {0}
    assert queue.send(queues.sqs, queues.url, [body, body]) == set()
    assert [len(delivered) for delivered in queues.deliver_all(consumer)] == [MAX_MESSAGE_BYTES] * 2
    assert stored(database_url) == sorted(sent["id"] for sent in events)


def test_more_messages_than_sqs_takes_at_once_are_sent_in_several_batches(
    consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    events = [event() for _ in range(25)]
    assert queue.send(queues.sqs, queues.url, [json.dumps(one).encode() for one in events]) == set()
    assert len(queues.deliver_all(consumer)) == len(events)
    assert stored(database_url) == sorted(sent["id"] for sent in events)


def test_a_malformed_message_is_rejected_with_its_reason_and_harms_none_beside_it(
    consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    good = event()
    for body in (json.dumps(good), "no JSON at all", json.dumps(event(event="unknown"))):
        queues.sqs.send_message(QueueUrl=queues.url, MessageBody=body)
    queues.deliver_all(consumer)
    assert stored(database_url) == [good["id"]]
    with psycopg.connect(database_url) as connection:
        codes = connection.execute("SELECT code FROM rejected_events ORDER BY code").fetchall()
    assert codes == [("invalid_json",), ("unknown_event",)]
    assert queues.waiting(queues.url) == queues.waiting(queues.dead_letter_url) == 0


def test_a_message_that_fails_becomes_a_dead_letter_and_its_neighbour_is_stored(
    consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_one(raw: Any, *arguments: Any) -> Any:
        if b"unforeseen" in bytes(raw):
            raise RuntimeError
        return read_attributes(raw, *arguments)

    monkeypatch.setattr("functions.ingest.reading.read_attributes", fail_on_one)
    good, bad = event(), event(unforeseen=1)
    for one in (bad, good):
        queues.sqs.send_message(QueueUrl=queues.url, MessageBody=json.dumps(one))
    delivered = [json.loads(body) for body in queues.deliver_all(consumer)]
    assert (delivered.count(bad), delivered.count(good), len(delivered)) == (
        MAX_RECEIVE_COUNT,
        1,
        MAX_RECEIVE_COUNT + 1,
    )
    assert stored(database_url) == [good["id"]]
    assert (queues.waiting(queues.url), queues.waiting(queues.dead_letter_url)) == (0, 1)


def test_what_came_while_postgresql_was_down_is_stored_once_it_is_back(
    unreachable: Handler, queues: LocalStackQueues, database_url: str, request: pytest.FixtureRequest
) -> None:
    events = [event() for _ in range(3)]
    for one in events:
        queues.sqs.send_message(QueueUrl=queues.url, MessageBody=json.dumps(one))
    assert queues.deliver(unreachable) != []
    assert queues.waiting(queues.url) == len(events)
    queues.deliver_all(request.getfixturevalue("consumer"))
    assert stored(database_url) == sorted(sent["id"] for sent in events)
    assert queues.waiting(queues.url) == queues.waiting(queues.dead_letter_url) == 0


def test_a_message_that_is_delivered_again_is_stored_once(
    consumer: ConsumerHandler, queues: LocalStackQueues, database_url: str
) -> None:
    queues.sqs.send_message(
        QueueUrl=queues.url, MessageBody=json.dumps({"event": "request_duo_chat_response", "user_id": 1})
    )

    def store_and_die(lambda_event: dict[str, Any], context: FakeContext) -> dict[str, Any]:
        consumer(lambda_event, context)
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in lambda_event["Records"]]}

    assert len(queues.deliver(store_and_die)) == 1
    first = stored(database_url)
    assert len(first) == 1
    assert len(queues.deliver_all(consumer)) == 1
    assert stored(database_url) == first


def test_a_dead_letter_waits_untouched_and_is_stored_when_redriven(
    unreachable: Handler, queues: LocalStackQueues, database_url: str, request: pytest.FixtureRequest
) -> None:
    body = json.dumps(event(id="0198f0a2-6b1c-4d3e-9a55-0d2f5c1b7e44"), indent=2)
    queues.sqs.send_message(QueueUrl=queues.url, MessageBody=body)
    for _ in range(MAX_RECEIVE_COUNT):
        assert queues.deliver(unreachable) == [body]
    assert queues.deliver(unreachable) == []
    assert (queues.waiting(queues.url), queues.waiting(queues.dead_letter_url)) == (0, 1)
    redrive(queues)
    assert queues.deliver_all(request.getfixturevalue("consumer")) == [body]
    assert stored(database_url) == ["0198f0a2-6b1c-4d3e-9a55-0d2f5c1b7e44"]
    assert queues.waiting(queues.url) == queues.waiting(queues.dead_letter_url) == 0


def redrive(queues: LocalStackQueues) -> None:
    """Redrives the dead letters with SQS, and waits until the redrive is done."""
    answer = queues.sqs.get_queue_attributes(QueueUrl=queues.dead_letter_url, AttributeNames=["QueueArn"])
    arn = answer["Attributes"]["QueueArn"]
    queues.sqs.start_message_move_task(SourceArn=arn)
    give_up = time.monotonic() + REDRIVE_SECONDS
    while queues.sqs.list_message_move_tasks(SourceArn=arn)["Results"][0]["Status"] != "COMPLETED":
        assert time.monotonic() < give_up
        time.sleep(0.1)
