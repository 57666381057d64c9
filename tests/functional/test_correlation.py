"""One id leads from a request to its answer, its messages, its batch, and the log lines of all of them."""

import io
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psycopg
import pytest
from typer.testing import CliRunner

from functions.graphql.handler import GraphqlHandler
from functions.ingest.api_handler import IngestHandler
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.contract import MAX_MESSAGE_BYTES
from functions.shared import correlation
from functions.shared.cors import Cors
from functions.shared.queue import _size
from infra.cli import app
from infra.operations.dead_letters import redrive
from tests.functional.test_ingest_api import CHAT, api, sqs
from tests.support.consuming import Queues, consume
from tests.support.graphql import built
from tests.support.lambda_context import FakeContext
from tests.support.logged import logged_to
from tests.support.ways_in import token

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

__all__ = ["api", "sqs"]  # fixtures

REQUEST = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
MAX_LINE_BYTES = 256 * 1024  # CloudWatch cuts longer lines


class Context(FakeContext):
    """A context of an invocation with an id."""

    aws_request_id = "an-invocation"


def sent(body: Any, request_id: Any = REQUEST) -> dict[str, Any]:
    """Returns a request as API Gateway passes it to the function."""
    return {
        "httpMethod": "POST",
        "headers": {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
        "requestContext": {"requestId": request_id},
    }


def record_of(request_id: str, body: str) -> dict[str, Any]:
    """Returns a message of a request as Lambda passes it to the consumer."""
    return {
        "messageId": f"message-{request_id}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1796000000000"},
        "messageAttributes": {correlation.ATTRIBUTE: {"dataType": "String", "stringValue": request_id}},
    }


class Log:
    """What the functions of this process log."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines since the last call."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        self.stream.truncate(self.stream.seek(0))
        return lines


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of the functions, which share one logger in this process."""
    log = Log()
    with logged_to(log.stream):
        yield log


def test_a_request_is_found_by_its_id_from_the_answer_to_the_stored_batch(
    queues: Queues, api: IngestHandler, consumer: ConsumerHandler, log: Log
) -> None:
    answer = api(sent([CHAT, CHAT]), None)
    assert answer["headers"][correlation.HEADER] == REQUEST
    assert [line["request_id"] for line in log.lines()] == [REQUEST]
    consumer({"Records": queues.records()}, Context())
    (line,) = log.lines()
    assert (line["message"], line["requests"], line["invocation"], line["stored"]) == (
        "consumed",
        [REQUEST],
        "an-invocation",
        2,
    )


def test_a_rejected_event_is_found_by_the_id_of_its_request(
    queues: Queues, api: IngestHandler, consumer: ConsumerHandler, connection: psycopg.Connection, database_url: str
) -> None:
    api(sent([CHAT, {"event": "troubleshoot_job"}]), None)
    queues.send('{"event": "unknown"}')
    records = queues.records()
    for _ in range(2):  # a redelivery changes nothing
        consume(consumer, *records)
    (direct,) = (record["messageId"] for record in records if "unknown" in record["body"])
    known: dict[str, str] = dict(connection.execute("SELECT code, request_id FROM rejected_events").fetchall())
    assert known == {"invalid_payload": REQUEST, "unknown_event": direct}
    with patch.dict(os.environ, {"DATABASE_URL": database_url, "QUEUE_URL": queues.url}):
        shown = CliRunner().invoke(app, ["rejected", "show", REQUEST])
        assert (shown.exit_code, f"request      {REQUEST}\n" in shown.output) == (0, True)
        assert CliRunner().invoke(app, ["rejected", "replay", "--code", "invalid_payload"]).exit_code == 0
    queues.consume(consumer)
    rows = connection.execute("SELECT attempts, request_id FROM rejected_events ORDER BY attempts").fetchall()
    assert rows == [(1, direct), (2, REQUEST)]


def test_a_rejected_event_is_found_by_the_id_that_a_producer_gave_its_message(
    queues: Queues, consumer: ConsumerHandler, database_url: str
) -> None:
    queues.send('{"event": "unknown"}', **{correlation.ATTRIBUTE: "nightly-import_7"})
    queues.consume(consumer)
    with patch.dict(os.environ, {"DATABASE_URL": database_url}):
        shown = CliRunner().invoke(app, ["rejected", "show", "nightly-import_7"])
        unknown = CliRunner().invoke(app, ["rejected", "show", "nightly-import_8"])
    assert (shown.exit_code, "request      nightly-import_7\n" in shown.output) == (0, True)
    assert (unknown.exit_code, "No rejected event is known by nightly-import_8" in unknown.output) == (1, True)


def test_a_refused_request_has_its_id_in_answer_and_log(api: IngestHandler, log: Log) -> None:
    refused = api(sent(CHAT) | {"headers": {}}, None)
    assert (refused["statusCode"], refused["headers"][correlation.HEADER]) == (401, REQUEST)
    assert [(line["message"], line["request_id"]) for line in log.lines()] == [("refused", REQUEST)]


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, 5, "an\nid"])
def test_a_request_without_a_usable_id_gets_one(given: Any, api: IngestHandler) -> None:
    first, second = (api(sent(CHAT, given), None)["headers"][correlation.HEADER] for _ in range(2))
    assert len({first, second, given}) == 3


def test_a_page_of_another_origin_may_read_the_id(api: IngestHandler) -> None:
    api.cors = Cors(frozenset({"https://page.example.com"}))
    event = sent(CHAT)
    event["headers"]["Origin"] = "https://page.example.com"
    assert correlation.HEADER in api(event, None)["headers"]["Access-Control-Expose-Headers"]


def test_a_batch_that_is_not_stored_names_its_requests(
    queues: Queues, api: IngestHandler, consumer: ConsumerHandler, connection: Any, log: Log
) -> None:
    api(sent(CHAT), None)
    connection.execute("ALTER TABLE ai_usage_events RENAME TO elsewhere")
    log.lines()
    consumer({"Records": queues.records()}, None)
    assert [(line["message"], line["requests"]) for line in log.lines()] == [
        ("PostgreSQL did not store the batch", [REQUEST])
    ]


@pytest.mark.parametrize(("message", "is_stored"), [("consumed", True), ("PostgreSQL did not store the batch", False)])
def test_a_batch_names_each_of_its_requests_however_many_there_are(
    message: str, consumer: ConsumerHandler, connection: Any, log: Log, *, is_stored: bool
) -> None:
    if not is_stored:
        connection.execute("ALTER TABLE ai_usage_events RENAME TO elsewhere")
    ids = [f"{number:064}" for number in range(6_000)]
    consume(consumer, *(record_of(one, "[]" if is_stored else json.dumps(CHAT)) for one in ids))
    lines = log.lines()
    assert {line["message"] for line in lines} == {message}
    assert sorted(one for line in lines for one in line["requests"]) == ids
    assert sum(line["messages"] for line in lines) == len(ids)
    assert max(len(json.dumps(line)) for line in lines) < MAX_LINE_BYTES


def test_a_message_straight_on_the_queue_is_known_by_its_own_id(
    queues: Queues, consumer: ConsumerHandler, log: Log
) -> None:
    queues.send(json.dumps(CHAT))
    queues.send(json.dumps(CHAT), **{correlation.ATTRIBUTE: "not an id, but a text"})
    records = queues.records()
    consume(consumer, *records)
    (line,) = log.lines()
    assert line["requests"] == sorted(record["messageId"] for record in records)


def test_a_redriven_message_keeps_the_id_of_its_request(queues: Queues, consumer: ConsumerHandler) -> None:
    queues.bury(json.dumps(CHAT), **{correlation.ATTRIBUTE: REQUEST})
    redrive(queues.sqs, queues.dead_letter_url, queues.url)
    assert [correlation.request_of(record) for record in queues.records()] == [REQUEST]


def test_four_full_messages_with_their_ids_fit_into_one_call(sqs: "SQSClient", api: IngestHandler) -> None:
    attribute: Any = {correlation.ATTRIBUTE: {"DataType": "String", "StringValue": "x" * 64}}
    assert _size(attribute) <= correlation.ATTRIBUTE_BYTES
    text = {"text": "x" * 60_000}
    assert api(sent([CHAT | text] * 17), None)["statusCode"] == 202
    url = sqs.list_queues()["QueueUrls"][0]
    sizes = []
    while messages := sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages"):
        sizes += [len(one["Body"].encode()) + _size(one["MessageAttributes"]) for one in messages]
    assert len(sizes) == 5
    assert max(sizes) <= MAX_MESSAGE_BYTES


def test_a_query_has_its_id_in_answer_and_log(log: Log) -> None:
    with built("postgresql://nobody@127.0.0.1:1/nothing") as handler:
        answer = ask_of(handler)
    assert answer["headers"][correlation.HEADER] == REQUEST
    (line,) = [line for line in log.lines() if line["level"] == "ERROR"]
    assert line["request_id"] == REQUEST
    assert line["error_id"] in answer["body"]


def ask_of(handler: GraphqlHandler) -> dict[str, Any]:
    query = {"query": "{ aiInstanceUsageData { all { nodes { id } } } }"}
    event = sent(query)
    event["headers"]["Authorization"] = f"Bearer {token(scope='events:read', namespaces=['*'])}"
    return handler(event, None)
