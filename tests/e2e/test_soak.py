"""Producers send many events while servers are killed, groups move, and users are renamed and erased; none is lost."""

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
from uuid import UUID

from infra.operations.dead_letters import count
from tests.conftest import TOTALS
from tests.e2e.changing_world import ChangingWorld
from tests.e2e.conftest import Stack
from tests.e2e.faults import failed_batches, kill_consumer, kill_postgres, visibility_timeout
from tests.e2e.producers import ERASED, GROUPS, USERS, Ledger, Producer, by_https, by_queue, group_ids, unique_part
from tests.e2e.use import eventually, rows, usage_events


@dataclass(frozen=True, slots=True)
class Counts:
    """Amounts and times of a run.

    Attributes:
        events: events of all four producers, without repetitions and events sent while a kill is awaited.
        request: largest number of events in a request.
        message: largest number of events in a message.
        visibility_seconds: seconds until the queue redelivers a message that was not stored.
        moves: moves of groups while the producers send; likewise `renames` of users.
        pause_seconds: pause after each change.
        seconds: time limit for consuming everything after sending, and for moving what is stored.
    """

    events: int
    request: int
    message: int
    postgres_kills: int
    consumer_kills: int
    visibility_seconds: int
    moves: int
    renames: int
    pause_seconds: float
    seconds: int


SMALL = Counts(
    events=4_000,
    request=80,
    message=40,
    postgres_kills=1,
    consumer_kills=3,
    visibility_seconds=8,
    moves=6,
    renames=10,
    pause_seconds=0.2,
    seconds=120,
)
FULL = Counts(
    events=200_000,
    request=500,
    message=150,
    postgres_kills=5,
    consumer_kills=20,
    visibility_seconds=90,  # as deployed
    moves=30,
    renames=200,
    pause_seconds=1,
    seconds=900,
)
COUNTS = FULL if os.environ.get("SOAK") else SMALL
POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.5  # of a producer between two parcels

STORED = "SELECT id, namespace_path FROM ai_usage_events WHERE user_id >= %s AND user_id < %s"
NAMES = "SELECT id, username FROM users WHERE id = ANY(%s)"
OF_USERS = """
    SELECT count(*) FROM ai_usage_events WHERE user_id >= %s AND user_id < %s
    UNION ALL
    SELECT count(*) FROM users WHERE id >= %s AND id < %s
"""
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


def send_amid_kills(stack: Stack, producers: Sequence[Producer], world: ChangingWorld) -> None:
    """Runs the producers and the changes in parallel; kills at random moments before the last fifth of the events."""
    kills = [kill_postgres] * COUNTS.postgres_kills + [kill_consumer] * COUNTS.consumer_kills
    random.shuffle(kills)
    moments = sorted(random.sample(range(COUNTS.events // 20, COUNTS.events * 4 // 5), len(kills)))
    course = Course(producers)
    with ThreadPoolExecutor(len(producers) + 1) as pool:
        running = [pool.submit(producer.run, course.pace, course.goes_on) for producer in producers]
        running.append(pool.submit(world.change, COUNTS.moves, COUNTS.renames, COUNTS.pause_seconds))
        try:
            for kill, moment in zip(kills, moments, strict=True):
                course.is_disturbed = False
                while course.sent < moment:
                    for work in running:
                        if work.done():
                            work.result()
                    time.sleep(POLL_SECONDS)
                course.is_disturbed = True
                kill(stack)
        finally:
            course.is_disturbed, course.is_over = False, True
    for work in running:
        work.result()


def assert_stored_once(stack: Stack, first_user: int, ledger: Ledger, others: set[UUID]) -> int:
    """Checks that exactly the accepted ids are stored, each once, besides `others`; returns their number."""
    stored = [identifier for identifier, _ in rows(stack, STORED, first_user, first_user + USERS)]
    ids = set(stored) - others
    made = [unique_part(identifier) for identifier in ids - ledger.ids.keys()]
    assert len(stored) == len(set(stored))
    assert len(made) == len(set(made))  # one message, one time
    assert not ledger.ids.keys() - ids
    assert not ledger.unique_parts.keys() - set(made)
    assert len(set(made) - ledger.unique_parts.keys()) <= ledger.perhaps_stored
    return len(ids)


def misplaced(stack: Stack, ledger: Ledger, world: ChangingWorld) -> Counter[tuple[str | None, str | None]]:
    """Counts the events that are not where their group is now, by their path and the group's."""
    paths = {group: world.path_of(group) for group in group_ids(world.first_user)}
    found = Counter[tuple[str | None, str | None]]()
    for identifier, path in rows(stack, STORED, world.first_user, world.first_user + USERS):
        if identifier in world.ids:
            continue
        group = ledger.ids.get(identifier, ledger.unique_parts.get(unique_part(identifier)))
        if path not in ([paths[group]] if group else paths.values()):
            found[path, paths[group] if group else None] += 1
    return found


def assert_nothing_of_erased_users(stack: Stack, first_user: int) -> None:
    """Checks that neither events nor rejected events nor names are left of the users who were erased."""
    users = (first_user, first_user + ERASED)
    assert rows(stack, OF_USERS, *users, *users) == [(0,), (0,)]
    for (body,) in rows(stack, "SELECT body FROM rejected_events WHERE body LIKE %s", f'%"mark": "{first_user}-%'):
        assert json.loads(body)["user"]["id"] >= first_user + ERASED


def assert_clickhouse_has_the_same(stack: Stack) -> None:
    """Checks that both stores have the same events in the same places."""
    usage_events(stack, "sync")
    usage_events(stack, "verify")


def assert_rejected_once(stack: Stack, first_user: int, ledger: Ledger) -> int:
    """Checks that each rejected event has a row for each time that it was sent; returns the number of rows."""
    found = rows(stack, REJECTED, f'%"mark": "{first_user}-%')
    rejected = Counter((json.loads(body)["mark"], code) for body, code in found)
    assert not ledger.rejected - rejected
    assert not rejected - ledger.rejected - ledger.perhaps_rejected
    return len(found)


def test_every_event_is_in_exactly_one_place_whatever_is_killed_or_changes(
    with_clickhouse: Stack, user_id: int, record_property: Callable[[str, str], None]
) -> None:
    stack = with_clickhouse
    sqs, died, started = stack.sqs(), failed_batches(stack), time.monotonic()
    dead = count(sqs, stack.dlq_url)
    producers, world = producers_of(stack, user_id), ChangingWorld(stack, user_id)
    world.state_groups()
    eventually(
        lambda: rows(stack, "SELECT count(*) FROM ai_usage_events WHERE user_id = %s", user_id + USERS), [(GROUPS,)]
    )
    with visibility_timeout(stack, COUNTS.visibility_seconds):
        send_amid_kills(stack, producers, world)
        sent = time.monotonic()
        eventually(lambda: count(sqs, stack.queue_url), 0, COUNTS.seconds)
    consumed = time.monotonic()
    world.erase_users()
    ledger = reduce(add, (producer.ledger for producer in producers))
    stored = assert_stored_once(stack, user_id, ledger, world.ids)
    rejected = assert_rejected_once(stack, user_id, ledger)
    assert count(sqs, stack.dlq_url) == dead
    assert ledger.events == (
        ledger.accepted + ledger.erased + ledger.rejected.total() + ledger.refused + ledger.ignored
    )
    assert_nothing_of_erased_users(stack, user_id)
    assert dict(rows(stack, NAMES, list(world.usernames))) == world.usernames
    eventually(lambda: misplaced(stack, ledger, world), Counter(), COUNTS.seconds)
    moved = time.monotonic()
    assert_clickhouse_has_the_same(stack)
    record_property(
        TOTALS,
        f"{ledger.events} events in {ledger.sends} sends, {ledger.failed} requests failed: {stored} stored and "
        f"{ledger.accepted - stored} duplicates, {ledger.erased} of erased users, {rejected} rejected, "
        f"{ledger.refused} refused, {ledger.ignored} ignored, none waiting or dead; PostgreSQL killed "
        f"{COUNTS.postgres_kills} times, the consumer {COUNTS.consumer_kills} times and "
        f"{failed_batches(stack) - died} batches with it; {COUNTS.moves} moves, {COUNTS.renames} renames and {ERASED} "
        f"erasures meanwhile; sent in {sent - started:.0f} s, consumed {consumed - sent:.0f} s later, all in place "
        f"{moved - consumed:.0f} s after that",
    )
