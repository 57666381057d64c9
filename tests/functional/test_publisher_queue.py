"""The publisher with the queue as its destination."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.message.batch import read_batch
from functions.ingest.publisher import Limits, Publisher, QueueDestination, Stats

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONG = 30.0
IMPATIENT = Limits(batch_seconds=LONG, first_pause_seconds=0.01)
MESSAGE_BYTES = 256 * 1024
WITHOUT_TEXT = {"event": "troubleshoot_job", "user": {"id": 1}, "id": str(UUID(int=1)), "timestamp": 0, "text": ""}
OTHER_BYTES = len(msgspec.json.encode(WITHOUT_TEXT))
SQUARE_BRACKETS = 2


@pytest.fixture
def sqs(aws: None) -> "SQSClient":
    return boto3.client("sqs")


@pytest.fixture
def queue_url(sqs: "SQSClient") -> str:
    return sqs.create_queue(QueueName="events")["QueueUrl"]


def queued(sqs: "SQSClient", queue_url: str) -> list[list[dict[str, Any]]]:
    """Returns the events of each message as the consumer reads them."""
    batches = []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            assert len(message["Body"].encode()) <= MESSAGE_BYTES
            assert "\ufffe" not in message["Body"]  # which SQS refuses
            batch = read_batch(message["Body"].encode(), message["MessageId"], datetime.now(UTC))
            assert batch.grant is None
            batches.append([msgspec.json.decode(event) for event in batch.events])
    return batches


def test_events_are_queued_as_messages_that_the_consumer_reads(sqs: "SQSClient", queue_url: str) -> None:
    with Publisher(QueueDestination(queue_url), IMPATIENT) as publisher:
        for number in range(30):
            publisher.track_event("troubleshoot_job", user=1, number=number, text="\ufffe" + "x" * 30_000)
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=30)
    batches = queued(sqs, queue_url)
    assert len(batches) <= 30 * 31_000 / MESSAGE_BYTES + 2
    events = sorted((event for batch in batches for event in batch), key=lambda event: event["number"])
    assert [event["number"] for event in events] == list(range(30))
    assert {event["text"][0] for event in events} == {"\ufffe"}


def track(publisher: Publisher, text: str) -> None:
    """Tracks an event with the text and `OTHER_BYTES` further bytes."""
    publisher.track_event("troubleshoot_job", user=1, id=UUID(int=1), timestamp=0, text=text)


def texts_of_a_message(excess: int) -> list[str]:
    """Returns texts of six events that fill a message exactly, plus `excess` bytes."""
    commas = 5
    others = ["x" * 40_000] * 5
    room = MESSAGE_BYTES - SQUARE_BRACKETS - commas - 6 * OTHER_BYTES - sum(map(len, others))
    return [*others, "x" * (room + excess)]


@pytest.mark.parametrize(
    ("texts", "messages"),
    [
        pytest.param(texts_of_a_message(excess=0), 1, id="as long as may be"),
        pytest.param(texts_of_a_message(excess=1), 2, id="a byte more"),
        pytest.param(["\uffff" * 10_000] * 8, 2, id="as escapes make it"),
    ],
)
def test_a_message_is_no_longer_than_it_may_be(
    texts: list[str], messages: int, sqs: "SQSClient", queue_url: str
) -> None:
    with Publisher(QueueDestination(queue_url), IMPATIENT) as publisher:
        for text in texts:
            track(publisher, text)
        assert publisher.flush(LONG)
    batches = queued(sqs, queue_url)  # which looks at how long they are
    assert [event["text"] for batch in batches for event in batch] == texts
    assert len(batches) == messages


@pytest.mark.parametrize("excess", [0, 1])
def test_an_event_is_judged_as_long_as_the_consumer_finds_it(excess: int, sqs: "SQSClient", queue_url: str) -> None:
    noncharacters = 10_000
    room = MAX_EVENT_BYTES - OTHER_BYTES - noncharacters * len(rb"\ufffe")
    with Publisher(QueueDestination(queue_url), IMPATIENT) as publisher:
        track(publisher, "\ufffe" * noncharacters + "x" * (room + excess))
        assert publisher.flush(LONG)
        assert publisher.stats() == (Stats(rejected=1, reasons={"too_large": 1}) if excess else Stats(accepted=1))


def test_a_queue_that_is_missing_is_not_tried_for_ever(sqs: "SQSClient", queue_url: str) -> None:
    sqs.delete_queue(QueueUrl=queue_url)
    with Publisher(QueueDestination(queue_url), IMPATIENT) as publisher:
        publisher.track_event("troubleshoot_job", user=1)
        assert publisher.flush(LONG)
        stats = publisher.stats()
    assert (stats.lost, len(stats.reasons)) == (1, 1)
    assert "NonExistentQueue" in next(iter(stats.reasons)) or "QueueDoesNotExist" in next(iter(stats.reasons))


class Faulty:
    """A client that fails with each of the errors before it works."""

    def __init__(self, sqs: "SQSClient", errors: list[Exception]) -> None:
        self.sqs, self.errors = sqs, errors

    def send_message(self, **message: str) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self.sqs.send_message(**cast("Any", message))

    def close(self) -> None:
        pass


def error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": cast("Any", {"HTTPStatusCode": status})},
        "SendMessage",
    )


def faulty(sqs: "SQSClient", *errors: Exception) -> "Callable[[], SQSClient]":
    return lambda: cast("SQSClient", Faulty(sqs, list(errors)))


@pytest.mark.parametrize(
    ("failure", "stats"),
    [
        (error("ServiceUnavailable", 503), Stats(accepted=1)),
        (error("ThrottlingException", 400), Stats(accepted=1)),
        (error("RequestThrottled", 403), Stats(accepted=1)),
        (EndpointConnectionError(endpoint_url="x"), Stats(accepted=1)),
        (ValueError("of the client's maker"), Stats(accepted=1)),
        (error("AccessDenied", 403), Stats(lost=1, reasons={"AccessDenied": 1})),
        (error("InvalidMessageContents", 400), Stats(rejected=1, reasons={"InvalidMessageContents": 1})),
    ],
    ids=str,
)
def test_what_the_queue_does_not_take_is_tried_again_where_that_may_help(
    failure: Exception, stats: Stats, sqs: "SQSClient", queue_url: str
) -> None:
    make_client = faulty(sqs, *[failure] * (1 if stats.rejected else 3))
    with Publisher(QueueDestination(queue_url, make_client), IMPATIENT) as publisher:
        publisher.track_event("troubleshoot_job", user=1)
        assert publisher.flush(LONG)
        assert publisher.stats() == stats
    assert sum(map(len, queued(sqs, queue_url))) == stats.accepted


def test_a_message_that_is_too_long_is_sent_in_halves(sqs: "SQSClient", queue_url: str) -> None:
    with Publisher(
        QueueDestination(queue_url, faulty(sqs, error("InvalidParameterValue", 400))), IMPATIENT
    ) as publisher:
        for number in range(4):
            publisher.track_event("troubleshoot_job", user=1, number=number)
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=4)
    assert sum(map(len, queued(sqs, queue_url))) == 4
