"""Time of an event through the local stack: from the answer to its request until its row is in PostgreSQL."""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from pathlib import Path
from queue import SimpleQueue
from statistics import quantiles
from typing import Any
from uuid import UUID

import httpx
import psycopg

from infra.local import stack
from infra.stack_file import Stack
from tests.bench.events import events
from tests.bench.measure import Measurement, against
from tests.support import checkout, local_stack

REQUESTS_PER_SECOND = 5
EVENTS_PER_REQUEST = 10
WARM_UP_REQUESTS = 10 * REQUESTS_PER_SECOND
WARM_UP_THREADS = 2  # so few that the functions do not start in crowds, each slowing down the others
REQUESTS = 30 * REQUESTS_PER_SECOND
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 120
THREADS = 50  # so many that no request waits for the answer to another one

VISIBLE = "SELECT id FROM ai_usage_events WHERE id = ANY(%s)"

type Events = Sequence[dict[str, Any]]
type Answered = SimpleQueue[dict[UUID, float]]


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `end_to_end_seconds`: the 95th percentile on a new stack below `folder`, against one second."""
    below = folder / "end_to_end"
    shutil.rmtree(below, ignore_errors=True)
    made = events((WARM_UP_REQUESTS + REQUESTS) * EVENTS_PER_REQUEST)
    requests = list(batched(made, EVENTS_PER_REQUEST, strict=True))
    copy = checkout.copy(below)
    with local_stack.running(copy):
        running = stack.running(copy / ".local")
        if running is None:
            raise RuntimeError("The local stack stopped by itself")
        _seconds(running, requests[:WARM_UP_REQUESTS], WARM_UP_THREADS)
        seconds = _seconds(running, requests[WARM_UP_REQUESTS:], THREADS)
    shutil.rmtree(below)
    value = round(quantiles(seconds, n=20)[-1], 3)
    yield against("end_to_end_seconds", value, "s", 1)


def _seconds(running: Stack, requests: Sequence[Events], threads: int) -> list[float]:
    """Returns the seconds of each event until its row was in PostgreSQL.

    Several threads send requests at a fixed rate.

    Raises:
        RuntimeError: a request was not accepted, or some events were not stored.
    """
    answered: Answered = SimpleQueue()
    headers = {"Authorization": f"Bearer {running.token}"}
    with httpx.Client(headers=headers, timeout=GIVE_UP_SECONDS) as client, ThreadPoolExecutor(threads + 1) as executor:
        looking = executor.submit(_look, running.database_url, answered, sum(map(len, requests)))
        posting = []
        start = time.perf_counter()
        for number, request in enumerate(requests):
            time.sleep(max(0, start + number / REQUESTS_PER_SECOND - time.perf_counter()))
            posting.append(executor.submit(_post, client, f"{running.api_url}/v1/events", request, answered))
    for post in posting:
        post.result()
    return looking.result()


def _post(client: httpx.Client, url: str, request: Events, answered: Answered) -> None:
    """Sends the events in one request, and records when the answer came."""
    answer = client.post(url, json=request)
    moment = time.perf_counter()
    if answer.status_code != httpx.codes.ACCEPTED:
        raise RuntimeError(f"The events were answered with {answer.status_code}: {answer.text[:300]}")
    answered.put({UUID(event["id"]): moment for event in request})


def _look(database_url: str, answered: Answered, count: int) -> list[float]:
    """Polls PostgreSQL for the events of answered requests until `count` of them are stored."""
    missing: dict[UUID, float] = {}
    seconds: list[float] = []
    give_up = time.perf_counter() + GIVE_UP_SECONDS
    with psycopg.connect(database_url, autocommit=True) as connection:
        while len(seconds) < count:
            if time.perf_counter() > give_up:
                raise RuntimeError(f"{count - len(seconds)} of {count} events are not stored")
            while not answered.empty():
                missing |= answered.get()
            found = connection.execute(VISIBLE, [list(missing)]).fetchall()
            now = time.perf_counter()
            seconds += [now - missing.pop(identifier) for (identifier,) in found]
            time.sleep(POLL_SECONDS)
    return seconds
