"""A flood of one tenant does not delay the events of another.

The functions and PostgreSQL are real. The queue is fair as AWS documents it, and time is simulated: an invocation takes
as long as its events would take a consumer.
"""

import json
import time
from collections.abc import Iterator
from copy import replace
from dataclasses import dataclass, field
from statistics import quantiles

import jwt
import psycopg
import pytest

from functions.ingest.api_handler import IngestHandler, build
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.limiter import Limiter
from functions.ingest.turn import MANY_MESSAGES
from functions.shared.settings import AuthSettings
from functions.shared.tenant_limits import Limits, TenantLimits
from tests.support.counted_together import CountedTogether
from tests.support.fair_queue import FairQueue, Message

SECRET = "a secret of thirty-two characters, at least"
CONSUMERS = 4
BATCH_MESSAGES = 10
STEP = 0.05
SECONDS = 8
EVENTS_PER_SECOND = 1_000  # of a consumer
FLOODING, QUIET = "27/", "9/"
REQUEST_EVENTS = 20


@dataclass
class System:
    """The functions around the queue, on a simulated clock.

    Attributes:
        dwelt: seconds from the acceptance of each of the quiet tenant's messages to its storage.
        refused: how many requests of the flooding tenant were answered with 429.
    """

    api: IngestHandler
    consumer: ConsumerHandler
    queue: FairQueue
    now: float = 0
    epoch: float = field(default_factory=time.time)
    busy: list[tuple[float, list[Message]]] = field(default_factory=list)
    dwelt: list[float] = field(default_factory=list)
    refused: int = 0

    def post(self, path: str, events: int) -> None:
        claims = {"sub": "5", "scope": "events:write", "namespaces": [path], "exp": time.time() + 600}
        body = [{"event": "request_duo_chat_response", "user_id": 5, "namespace_path": path}] * events
        headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}
        status = self.api({"headers": headers, "body": json.dumps(body), "resource": "/v1/events"}, None)["statusCode"]
        assert status == 202 or (path, status) == (FLOODING, 429)
        self.refused += status == 429

    def step(self) -> None:
        """Lets the consumers end and begin what is due, and time pass."""
        for end, batch in [one for one in self.busy if one[0] <= self.now]:
            self.busy.remove((end, batch))
            self.queue.done(batch)
        while len(self.busy) < CONSUMERS and (batch := self.queue.receive()):
            answer = self.consumer({"Records": [message.record(self.epoch) for message in batch]}, None)
            assert answer == {"batchItemFailures": []}
            events = sum(len(json.loads(message.body)["events"]) for message in batch)
            end = self.now + events / EVENTS_PER_SECOND
            self.busy.append((end, batch))
            self.dwelt += [end - message.sent_at for message in batch if message.group == QUIET]
        self.now += STEP

    def run(self, flood: int) -> float:
        """Runs for a while; returns the 95th percentile of what the quiet tenant's messages took.

        Args:
            flood: requests of the flooding tenant in each step.
        """
        for number in range(int(SECONDS / STEP)):
            for _ in range(flood):
                self.post(FLOODING, REQUEST_EVENTS)
            if number % 6 == 0:
                self.post(QUIET, 1)
            self.step()
        while QUIET in {message.group for message in self.queue.waiting}:
            self.step()
        return quantiles(self.dwelt, n=20)[-1]


@pytest.fixture
def system(consumer: ConsumerHandler, aws: None) -> Iterator[System]:
    api = build(auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3, log_level="ERROR")
    consumer.logger.setLevel("ERROR")
    queue = FairQueue(lambda: one.now, BATCH_MESSAGES)
    one = System(api, consumer, queue)
    api.intake = replace(api.intake, send=queue.send)
    yield one
    consumer.logger.setLevel("INFO")


def quiet_time(system: System) -> float:
    """Returns what the quiet tenant's messages take without a flood."""
    seconds = system.run(flood=0)
    system.dwelt.clear()
    return seconds


OVER_CAPACITY = int(1.5 * CONSUMERS * EVENTS_PER_SECOND * STEP / REQUEST_EVENTS)


def test_a_flood_leaves_the_p95_of_another_tenant_below_twice_its_quiet_value(
    system: System, connection: psycopg.Connection
) -> None:
    quiet = quiet_time(system)
    flooded = system.run(OVER_CAPACITY)
    assert flooded < 2 * quiet
    assert len(system.queue.waiting) > 10 * BATCH_MESSAGES  # it was a flood
    rows = connection.execute("SELECT namespace_path, count(*) FROM ai_usage_events GROUP BY 1").fetchall()
    stored: dict[str, int] = dict(rows)
    assert stored[QUIET] == 2 * -(-int(SECONDS / STEP) // 6)
    waiting = len(system.queue.waiting) * REQUEST_EVENTS
    assert stored[FLOODING] + waiting == OVER_CAPACITY * int(SECONDS / STEP) * REQUEST_EVENTS


def test_without_groups_the_flood_would_delay_everybody(system: System) -> None:
    quiet = quiet_time(system)
    system.queue.is_fair = False
    assert system.run(OVER_CAPACITY) > 2 * quiet


def test_a_limit_ends_the_flood_itself(system: System) -> None:
    quiet = quiet_time(system)
    system.queue.is_fair = False
    limits = TenantLimits(own={FLOODING: Limits(per_minute=CONSUMERS * EVENTS_PER_SECOND)})
    system.api.limiter = Limiter(limits, CountedTogether(), lambda: 60 + system.now % 60)
    assert system.run(OVER_CAPACITY) < 2 * quiet
    assert system.refused > 0


def test_in_a_batch_the_quiet_tenants_messages_are_stored_first_and_by_themselves(
    system: System, connection: psycopg.Connection
) -> None:
    system.queue.batch_size = 2 * MANY_MESSAGES
    for _ in range(MANY_MESSAGES):
        system.post(FLOODING, REQUEST_EVENTS)
    system.post(QUIET, 1)
    system.now += 2
    batch = system.queue.receive()
    system.consumer({"Records": [message.record(system.epoch) for message in batch]}, None)
    rows = connection.execute("SELECT xact_id::text::int, namespace_path, count(*) FROM ai_usage_events GROUP BY 1, 2")
    assert [(path, count) for _, path, count in sorted(rows.fetchall())] == [
        (QUIET, 1),
        (FLOODING, MANY_MESSAGES * REQUEST_EVENTS),
    ]
    xact_ids = {row[0] for row in connection.execute("SELECT DISTINCT xact_id::text FROM ai_usage_events")}
    assert len(xact_ids) == 2
