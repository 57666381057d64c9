"""Events for demonstrations look real, and are accepted."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from functions.shared.catalog import registry
from functions.shared.timestamp import months_before
from infra.operations.demo_data import EVENTS_A_MESSAGE, demo_events, send
from tests.conftest import RETENTION_MONTHS
from tests.support.clock import NOW
from tests.support.ways_in import WaysIn

MONDAY_NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def made(now: datetime = MONDAY_NOON, **changes: int) -> list[dict[str, Any]]:
    """Returns the events of 90 days."""
    options = {"days": 90, "users": 40, "seed": 1, "retention_months": RETENTION_MONTHS} | changes
    return list(demo_events(registry.load(), now, **options))


def test_the_same_seed_gives_the_same_events_and_another_seed_gives_others() -> None:
    assert made(users=5) == made(users=5)
    assert not {event["id"] for event in made(users=5)} & {event["id"] for event in made(users=5, seed=2)}


@pytest.mark.parametrize(
    "now", [MONDAY_NOON, datetime(2026, 5, 31, 0, 1, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)]
)
def test_no_event_is_later_than_now_or_older_than_the_retention(now: datetime) -> None:
    moments = [datetime.fromisoformat(event["timestamp"]) for event in made(now, days=400, users=5)]
    assert months_before(now, RETENTION_MONTHS) < min(moments) < now - timedelta(days=80)
    assert max(moments) <= now


def test_use_grows_rests_at_weekends_and_some_people_lapse() -> None:
    events = made()
    days = Counter(datetime.fromisoformat(event["timestamp"]).date() for event in events)
    weekdays = [count for day, count in days.items() if day.weekday() < 5]
    weekends = [count for day, count in days.items() if day.weekday() >= 5]
    assert sum(weekends) / len(weekends) < 0.3 * sum(weekdays) / len(weekdays)
    halves = Counter(datetime.fromisoformat(event["timestamp"]) > MONDAY_NOON - timedelta(days=45) for event in events)
    assert halves[True] > halves[False]
    last: dict[int, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for event in events:
        last[event["user"]["id"]] = max(last[event["user"]["id"]], datetime.fromisoformat(event["timestamp"]))
    lapsed = [moment for moment in last.values() if moment < MONDAY_NOON - timedelta(days=21)]
    assert 0 < len(lapsed) < len(last) / 2


def test_every_event_is_stored_and_sent_again_changes_nothing(ways: WaysIn, connection: psycopg.Connection) -> None:
    events = made(NOW, users=4, days=30)
    bodies: list[str] = []

    class Queue:
        def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: ARG002, N803 - the names of boto3
            bodies.append(MessageBody)

    counts: list[int] = []
    assert send(events, Queue(), "", counts.append) == len(events) == counts[-1]  # type: ignore[arg-type]
    assert len(bodies) == -(-len(events) // EVENTS_A_MESSAGE)
    for _ in range(2):
        for body in bodies:
            ways.consume(body)
        assert connection.execute("SELECT count(*) FROM ai_usage_events").fetchone() == (len(events),)
        assert connection.execute("SELECT count(*) FROM rejected_events").fetchone() == (0,)
    stray = "SELECT count(*) FROM ai_usage_events WHERE namespace_path NOT LIKE '9001/%'"
    assert connection.execute(stray).fetchone() == (0,)
