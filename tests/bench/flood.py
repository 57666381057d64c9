"""Time of one tenant's events from their acceptance to PostgreSQL while another tenant floods the queue.

The functions and PostgreSQL are real. The queue is the tests', which is fair as AWS documents it: emulators deliver in
the order of arrival.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import replace
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any, override
from unittest.mock import patch

import msgspec

from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_ingest
from functions.ingest.consumer_handler import build
from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.turn import group_of_message
from functions.shared.grant import WRITE, Grant
from functions.shared.settings import AuthSettings
from functions.shared.timestamp import utc_now
from infra.operations.token import sign
from tests.bench.engines import database, postgres_server
from tests.bench.events import NOW, events
from tests.bench.measure import Measurement, against
from tests.support.fair_queue import FairQueue

SECRET = "a secret of thirty-two characters, at least"
RETENTION_MONTHS = 3
CONSUMERS = 2
WARM_UP = 10
EVENTS = 100  # of the quiet tenant, for each of the two values
SECONDS_BETWEEN = 0.2
GIVE_UP_SECONDS = 120
FLOOD_BACKLOG = 400  # messages that wait at any time
MESSAGE_EVENTS = 100
FLOODING, QUIET = Grant("1", (WRITE,), ("9/",)), "27/"


@dataclass(slots=True)
class _Clocked(Consumer):
    """A consumer that notes how long the quiet tenant's messages took, once their transaction is committed."""

    dwelt: list[float] = field(default_factory=list)

    @override
    def consume(self, batches: Sequence[Batch], *arguments: Any) -> Outcome:
        outcome = Consumer.consume(self, batches, *arguments)
        now = utc_now()
        self.dwelt += [(now - one.received_at).total_seconds() for one in batches if one.sender != FLOODING]
        return outcome


@dataclass
class _System:
    """The consumers, and how long the quiet tenant's messages took."""

    database_url: str
    queue: FairQueue = field(default_factory=lambda: FairQueue(time.monotonic))
    dwelt: list[float] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)

    def consume(self) -> None:
        """Stores batches as Lambda would pass them to one consumer."""
        consumer = build(database_url=self.database_url, retention_months=RETENTION_MONTHS, log_level="ERROR")
        usual = consumer.consumer
        consumer.consumer = _Clocked(usual.database, usual.registry, usual.retention_months, dwelt=self.dwelt)
        epoch = time.time() - time.monotonic()
        while not self.is_over.is_set():
            batch = self.queue.receive()
            if not batch:
                time.sleep(0.01)
                continue
            failed = consumer({"Records": [message.record(epoch) for message in batch]}, None)["batchItemFailures"]
            self.failures += [failure["itemIdentifier"] for failure in failed]
            self.queue.done(batch)
        consumer.consumer.database.close()

    def flood(self, is_quiet: threading.Event) -> None:
        """Keeps a backlog of another tenant's events in the queue."""
        raw = [msgspec.Raw(json.dumps(event | {"id": None}).encode()) for event in events(MESSAGE_EVENTS)]
        numbers = count()
        while not is_quiet.is_set():
            while len(self.queue.waiting) < FLOOD_BACKLOG:
                batch = Batch(f"flood-{next(numbers)}", NOW, raw, grant=FLOODING)  # events without ids get its own ones
                self.queue.send([msgspec.json.encode(batch)], groups=[group_of_message(raw, FLOODING)])
            time.sleep(0.01)


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `flood`: the 95th percentile in the flood, against the one without it."""
    with postgres_server(folder / "flood") as server:
        system = _System(database(server, "flood"))
        threads = [threading.Thread(target=system.consume) for _ in range(CONSUMERS)]
        for thread in threads:
            thread.start()
        try:
            _sent(system, WARM_UP)
            quiet = _sent(system, EVENTS)
            with _flooded(system):
                flooded = _sent(system, EVENTS)
        finally:
            system.is_over.set()
            for thread in threads:
                thread.join()
    if system.failures:
        raise RuntimeError(f"{len(system.failures)} messages were not stored")
    yield against("flood", round(_p95(flooded), 3), "s", round(_p95(quiet), 3))


@contextmanager
def _flooded(system: _System) -> Iterator[None]:
    is_quiet = threading.Event()
    thread = threading.Thread(target=system.flood, args=[is_quiet])
    thread.start()
    while len(system.queue.waiting) < FLOOD_BACKLOG // 2:
        time.sleep(0.01)
    try:
        yield
    finally:
        is_quiet.set()
        thread.join()


def _sent(system: _System, number: int) -> Sequence[float]:
    """Sends events of the quiet tenant one after another; returns the seconds from acceptance to storage of each."""
    api, headers = _api(system.queue), {"Authorization": f"Bearer {sign(SECRET, '5', [WRITE], [QUIET], timedelta(1))}"}
    system.dwelt.clear()
    for _ in range(number):
        body = json.dumps({"event": "request_duo_chat_response", "user_id": 5, "namespace_path": QUIET})
        answer = api({"resource": "/v1/events", "headers": headers, "body": body, "isBase64Encoded": False}, None)
        if answer["statusCode"] != 202:
            raise RuntimeError(f"An event was not accepted: {answer['body'][:300]}")
        time.sleep(SECONDS_BETWEEN)
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while len(system.dwelt) < number:
        if time.monotonic() > give_up:
            raise RuntimeError(f"{number - len(system.dwelt)} of {number} events are not stored")
        time.sleep(0.01)
    return list(system.dwelt)


def _api(queue: FairQueue) -> IngestHandler:
    with patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):
        handler = build_ingest(
            auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3, log_level="ERROR"
        )
    handler.intake = replace(handler.intake, send=queue.send)
    return handler


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]
