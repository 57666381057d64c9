"""Several producers send many events while PostgreSQL and the consumer are killed; no event is lost."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add

from infra.operations.dead_letters import count
from tests.conftest import TOTALS
from tests.e2e.conftest import Stack
from tests.e2e.faults import failed_batches, kill_consumer, kill_postgres, visibility_timeout
from tests.e2e.producers import USERS, Ledger, Producer, by_https, by_queue, unique_part
from tests.e2e.use import eventually, rows


@dataclass(frozen=True, slots=True)
class Counts:
    """Amounts and times of a run.

    Attributes:
        events: events of all four producers, without repetitions and events sent while a kill is awaited.
        request: largest number of events in a request.
        message: largest number of events in a message.
        visibility_seconds: seconds until the queue redelivers a message that was not stored.
        seconds: time limit for consuming everything after sending.
    """

    events: int
    request: int
    message: int
    postgres_kills: int
    consumer_kills: int
    visibility_seconds: int
    seconds: int


SMALL = Counts(
    events=4_000,
    request=80,
    message=40,
    postgres_kills=1,
    consumer_kills=3,
    visibility_seconds=8,
    seconds=120,
)
FULL = Counts(
    events=200_000,
    request=500,
    message=150,
    postgres_kills=5,
    consumer_kills=20,
    visibility_seconds=90,  # as deployed
    seconds=900,
)
COUNTS = FULL if os.environ.get("SOAK") else SMALL
POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.5  # of a producer between two parcels

STORED_IDS = "SELECT id FROM ai_usage_events WHERE user_id >= %s AND user_id < %s"
REJECTED = "SELECT body, code FROM rejected_events WHERE body LIKE %s"


class Course:
    """Progress of the producers; they send slowly while a kill is awaited or a server is down.

    The producers send until the last kill is over, because the consumer can only be killed while it has work.
    """

    def __init__(self, producers: Sequence[Producer]) -> None:
        self._producers = producers
        self.is_disturbed = False
        self.is_over = False

    @property
    def sent(self) -> int:
        return sum(producer.ledger.events for producer in self._producers)

    def pace(self) -> None:
        """Waits before a parcel if the producers should send slowly."""
        if self.is_disturbed:
            time.sleep(PAUSE_SECONDS)

    def goes_on(self) -> bool:
        """Whether the producers must send further events."""
        return not self.is_over


def producers_of(stack: Stack, first_user: int) -> list[Producer]:
    """Returns two producers over HTTPS and two on the queue."""
    https, queue = by_https(stack), by_queue(stack, stack.sqs())
    share = COUNTS.events // 4
    return [
        Producer(first_user, 0, share, COUNTS.request, https, queue),
        Producer(first_user, 1, share, COUNTS.request, https, queue),
        Producer(first_user, 2, share, COUNTS.message, queue, https),
        Producer(first_user, 3, share, COUNTS.message, queue, https),
    ]


def send_amid_kills(stack: Stack, producers: Sequence[Producer]) -> None:
    """Runs the producers in parallel, and kills at random moments before the last fifth of the events."""
    kills = [kill_postgres] * COUNTS.postgres_kills + [kill_consumer] * COUNTS.consumer_kills
    random.shuffle(kills)
    moments = sorted(random.sample(range(COUNTS.events // 20, COUNTS.events * 4 // 5), len(kills)))
    course = Course(producers)
    with ThreadPoolExecutor(len(producers)) as pool:
        running = [pool.submit(producer.run, course.pace, course.goes_on) for producer in producers]
        try:
            for kill, moment in zip(kills, moments, strict=True):
                course.is_disturbed = False
                while course.sent < moment:
                    for producer in running:
                        if producer.done():
                            producer.result()
                    time.sleep(POLL_SECONDS)
                course.is_disturbed = True
                kill(stack)
        finally:
            course.is_disturbed, course.is_over = False, True
    for producer in running:
        producer.result()


def assert_stored_once(stack: Stack, first_user: int, ledger: Ledger) -> int:
    """Checks that exactly the accepted ids are stored, each once; returns their number."""
    stored = [identifier for (identifier,) in rows(stack, STORED_IDS, first_user, first_user + USERS)]
    ids = set(stored)
    made = [unique_part(identifier) for identifier in ids - ledger.ids]
    assert len(stored) == len(ids)
    assert len(made) == len(set(made))  # one message, one time
    assert not ledger.ids - ids
    assert not ledger.unique_parts - set(made)
    assert len(set(made) - ledger.unique_parts) <= ledger.perhaps_stored
    return len(stored)


def assert_rejected_once(stack: Stack, first_user: int, ledger: Ledger) -> int:
    """Checks that each rejected event has a row for each time that it was sent; returns the number of rows."""
    found = rows(stack, REJECTED, f'%"mark": "{first_user}-%')
    rejected = Counter((json.loads(body)["mark"], code) for body, code in found)
    assert not ledger.rejected - rejected
    assert not rejected - ledger.rejected - ledger.perhaps_rejected
    return len(found)


def test_every_event_is_in_exactly_one_place_whatever_is_killed(
    stack: Stack, user_id: int, record_property: Callable[[str, str], None]
) -> None:
    sqs, died, started = stack.sqs(), failed_batches(stack), time.monotonic()
    dead = count(sqs, stack.dlq_url)
    producers = producers_of(stack, user_id)
    with visibility_timeout(stack, COUNTS.visibility_seconds):
        send_amid_kills(stack, producers)
        sent = time.monotonic()
        eventually(lambda: count(sqs, stack.queue_url), 0, COUNTS.seconds)
    ledger = reduce(add, (producer.ledger for producer in producers))
    stored = assert_stored_once(stack, user_id, ledger)
    rejected = assert_rejected_once(stack, user_id, ledger)
    assert count(sqs, stack.dlq_url) == dead
    assert ledger.events == ledger.accepted + ledger.rejected.total() + ledger.refused + ledger.ignored
    record_property(
        TOTALS,
        f"{ledger.events} events in {ledger.sends} sends, {ledger.failed} requests failed: {stored} stored and "
        f"{ledger.accepted - stored} duplicates, {rejected} rejected, {ledger.refused} refused, "
        f"{ledger.ignored} ignored, none waiting or dead; PostgreSQL killed {COUNTS.postgres_kills} times, the "
        f"consumer {COUNTS.consumer_kills} times and {failed_batches(stack) - died} batches with it; "
        f"sent in {sent - started:.0f} s, consumed {time.monotonic() - sent:.0f} s later",
    )
