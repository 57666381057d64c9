"""What an outage of PostgreSQL does to the queue, with a real server that goes away and simulated time."""

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from botocore.exceptions import ConnectTimeoutError
from moto import mock_aws

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.event.event import read_attributes
from functions.ingest.redelivery import FAILURE_SECONDS, LONGEST_DELAY_SECONDS, Redelivery
from infra.local import postgres
from tests.support.consuming import ACCOUNT, Queues
from tests.support.logged import logged_to
from tests.support.simulated_queue import SimulatedQueue, delaying
from tests.support.stoppable_postgres import start, stoppable_postgres

HOUR = 60 * 60
RECOVERY_SECONDS = 300
EVENT = {"event": "request_duo_chat_response", "user_id": 1}


@pytest.fixture(scope="module")
def server(postgres_folder: Path) -> Iterator[Path]:
    """Data folder of a server that tests may stop; its URL is `database_url`."""
    data = postgres_folder / "away" / "data"
    with stoppable_postgres(data, 3):
        yield data


@pytest.fixture
def database_url(server: Path) -> str:
    url = start(server)
    with psycopg.connect(url, autocommit=True) as administration:
        administration.execute("TRUNCATE ai_usage_events")
    return url


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with logged_to(io.StringIO()):
        yield


@pytest.fixture
def queue() -> SimulatedQueue:
    return SimulatedQueue(epoch=time.time())


@pytest.fixture
def stored(database_url: str) -> Callable[[], int]:
    def stored() -> int:
        with psycopg.connect(database_url) as connection:
            (number,) = connection.execute("SELECT count(*) FROM ai_usage_events").fetchone() or (0,)
            return int(number)

    return stored


def bodies(number: int) -> list[str]:
    return [json.dumps(EVENT | {"number": index}) for index in range(number)]


def test_what_waited_is_stored_within_five_minutes_of_the_return(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    postgres.stop(server)
    for _ in range(60):
        queue.send(*bodies(2))
        queue.pass_seconds(60, consumer)
    assert len(queue.messages) == 120
    start(server)
    queue.pass_seconds(RECOVERY_SECONDS, consumer)
    assert (queue.messages, queue.dead, stored()) == ([], [], 120)


def test_a_blip_of_seconds_delays_events_by_seconds(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(3))
    postgres.stop(server)
    queue.pass_seconds(5, consumer)
    start(server)
    queue.pass_seconds(15, consumer)
    assert (queue.messages, stored()) == ([], 3)


def test_an_outage_is_no_hot_loop_and_few_messages_are_in_flight(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(20_000))
    postgres.stop(server)
    queue.pass_seconds(60, consumer)
    assert len(queue.invocations) <= queue.concurrency * 60 / FAILURE_SECONDS
    assert queue.most_in_flight <= queue.concurrency * queue.batch_size * 60 / FAILURE_SECONDS


def test_messages_of_a_failed_batch_come_back_one_after_another(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(100))
    for message in queue.messages:
        message.receives = 20
    postgres.stop(server)
    queue.pass_seconds(1, consumer)
    at = [message.visible_at for message in queue.messages]
    assert min(at) >= LONGEST_DELAY_SECONDS / 2
    assert max(at) <= LONGEST_DELAY_SECONDS
    assert len(set(at)) > 30


def test_events_of_often_delivered_messages_are_soon_stored_together(
    consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(100))
    for message in queue.messages:
        message.receives = 400
    consumer.max_events = 1600
    groups: list[int] = []
    consume = consumer.consumer.consume

    def counting(batches: Any, *arguments: Any) -> Any:
        groups.append(len(batches))
        return consume(batches, *arguments)

    with patch.object(type(consumer.consumer), "consume", lambda _, *arguments: counting(*arguments)):
        queue.pass_seconds(1, consumer)
    assert stored() == 100
    assert len(groups) < 12


def test_a_killed_consumer_delays_its_batch_by_the_visibility_timeout(
    consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(2))
    handle = {True: consumer}

    def killed_after_storing(event: dict[str, Any], context: None) -> Any:
        answer = consumer(event, context)
        if handle.pop(True, None):
            raise SystemError
        return answer

    queue.pass_seconds(queue.visibility_timeout, killed_after_storing)
    assert (len(queue.messages), stored()) == (2, 2)
    queue.pass_seconds(1, killed_after_storing)
    assert (queue.messages, stored()) == ([], 2)


def test_without_a_way_to_sqs_a_batch_waits_for_the_visibility_timeout(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    queue.error = ConnectTimeoutError(endpoint_url="https://sqs")
    delaying(consumer, queue)
    queue.send(*bodies(30))
    postgres.stop(server)
    queue.pass_seconds(1, consumer)
    assert {message.visible_at for message in queue.messages} == {queue.visibility_timeout}
    start(server)
    queue.pass_seconds(queue.visibility_timeout, consumer)
    assert (queue.messages, stored()) == ([], 30)


def test_a_day_and_more_without_postgresql_makes_no_dead_letter(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(1))
    postgres.stop(server)
    queue.pass_seconds(33 * HOUR, consumer)
    assert (len(queue.messages), queue.dead) == (1, [])
    start(server)
    queue.pass_seconds(RECOVERY_SECONDS, consumer)
    assert stored() == 1


def test_a_message_on_which_the_code_fails_does_not_delay_others(
    consumer: ConsumerHandler, queue: SimulatedQueue, monkeypatch: pytest.MonkeyPatch, stored: Callable[[], int]
) -> None:
    def fail_on_one(raw: Any, *arguments: Any) -> Any:
        if b"unforeseen" in bytes(raw):
            raise RuntimeError
        return read_attributes(raw, *arguments)

    monkeypatch.setattr("functions.ingest.reading.read_attributes", fail_on_one)
    delaying(consumer, queue)
    queue.send(json.dumps(EVENT | {"unforeseen": 1}), *bodies(1))
    queue.pass_seconds(HOUR, consumer)
    assert stored() == 1
    assert [message.receives < 40 for message in queue.messages] == [True]
    assert queue.paused == 0


def test_a_message_for_which_no_time_was_left_comes_back_soon(
    consumer: ConsumerHandler, queue: SimulatedQueue, stored: Callable[[], int]
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(1))
    queue.messages[0].receives = 20
    clock = iter([0.0, 100.0])
    consumer.clock = lambda: next(clock, 100.0)
    queue.pass_seconds(1, consumer)
    assert (stored(), queue.messages[0].visible_at <= 2) == (0, True)


class LittleTime:
    """A context of an invocation that is nearly over."""

    aws_request_id = "invocation"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 1_000


def test_an_invocation_that_is_nearly_over_delays_nothing(
    server: Path, consumer: ConsumerHandler, queue: SimulatedQueue
) -> None:
    delaying(consumer, queue)
    queue.send(*bodies(1))
    postgres.stop(server)
    queue.pass_seconds(1, lambda event, _: consumer(event, LittleTime()))
    assert queue.messages[0].visible_at == queue.visibility_timeout
    assert queue.paused == 0


def test_sqs_delivers_again_after_the_delay(
    server: Path, consumer: ConsumerHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        queues = Queues(receives=100)
        consumer.redelivery = Redelivery(queues.url, delay=lambda _: 0, sleep=lambda _: None)
        queues.send(*bodies(25))
        postgres.stop(server)
        queues.consume(consumer)
        start(server)
        records = queues.records()
        assert len(records) == 25
        assert {record["attributes"]["ApproximateReceiveCount"] for record in records} == {"2"}
