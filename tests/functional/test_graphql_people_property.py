"""The fields about people stay right while events come late, change and are removed."""

import os
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import ask
from tests.support.metrics_model import Event
from tests.support.people_model import PeopleModel
from tests.support.people_queries import PEOPLE, SESSIONS, people
from tests.support.random_events import TODAY

GRANTS = [["*"], ["1/"], ["1/2/", "12/"]]
MIDNIGHT = datetime.combine(TODAY, time(), NOW.tzinfo)
INSERT = """
    INSERT INTO ai_usage_events (timestamp, event, user_id, namespace_path, project_id, payload, id)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
UPDATE = """
    UPDATE ai_usage_events
    SET timestamp = %s, event = %s, user_id = %s, namespace_path = %s, project_id = %s, payload = %s
    WHERE id = %s
"""
PAYLOADS: list[dict[str, Any]] = [
    {},
    {"product": "duo", "session_id": 1, "flow_type": "chat"},
    {"product": "pro", "session_id": 1},
    {"product": "pro", "session_id": 2, "flow_type": "chat"},
]

events = st.builds(
    Event,
    timestamp=st.builds(
        lambda days, hours: MIDNIGHT - timedelta(days=days) + timedelta(hours=hours),
        st.sampled_from([0, 1, 2, 6, 7, 8, 13, 27, 28, 31]),
        st.integers(0, 23),
    ),
    event=st.sampled_from([3, 6, 6, 8, 9, 19, 20, 21, 1001, 1001, 1002]),
    user=st.sampled_from([1, 2, 2**63 - 1]),
    path=st.sampled_from([None, "1/", "1/2/", "12/"]),
    project=st.sampled_from([None, 4]),
    payload=st.sampled_from(PAYLOADS),
)
steps = st.one_of(
    st.tuples(st.just("insert"), events),
    st.tuples(st.just("insert"), events),
    st.tuples(st.just("update"), st.integers(0, 11), events),
    st.tuples(st.just("delete"), st.integers(0, 11)),
    st.tuples(st.just("bring")),
)
filters = st.fixed_dictionaries(
    {
        "startDate": st.sampled_from([0, 1, 3, 9, 30]).map(lambda days: str(TODAY - timedelta(days=days))),
        "endDate": st.just(str(TODAY)),
    },
    optional={
        "features": st.sampled_from([["CHAT"], ["CHAT", "AGENT_PLATFORM"], ["CHAT", "SEATS"]]),
        "userIds": st.just(["1", "2"]),
        "projectIds": st.just(["4"]),
        "payload": st.just([{"path": "flow_type", "eq": "chat"}]),
    },
)


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Stored:
    """Events that are stored, and the same ones for the model."""

    def __init__(self, connection: psycopg.Connection, bring: Callable[[], Any]) -> None:
        self._connection, self.bring = connection, bring
        self._events: dict[int, Event] = {}
        self._made = 0
        connection.execute("DELETE FROM ai_usage_events")

    @property
    def events(self) -> list[Event]:
        return list(self._events.values())

    def insert(self, event: Event) -> None:
        self._made += 1
        self._write(INSERT, self._made, event)

    def update(self, number: int, event: Event) -> None:
        if self._events:
            chosen = list(self._events)[number % len(self._events)]
            self._write(UPDATE, chosen, event)

    def delete(self, number: int) -> None:
        if self._events:
            chosen = list(self._events)[number % len(self._events)]
            self._connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [UUID(int=chosen)])
            del self._events[chosen]

    def _write(self, statement: str, number: int, event: Event) -> None:
        """Stores the event some milliseconds later, so that no two have one time."""
        moved = event._replace(timestamp=event.timestamp + timedelta(milliseconds=number))
        self._connection.execute(statement, [*moved[:5], Jsonb(moved.payload), UUID(int=number)])
        self._events[number] = moved


@settings(
    max_examples=150 if os.environ.get("SOAK") else 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    first=st.lists(events, min_size=4, max_size=12),
    done=st.lists(steps, max_size=8),
    chosen=filters,
    period=st.sampled_from(["DAY", "WEEK", "MONTH"]),
    product=st.sampled_from([None, "pro"]),
)
def test_people_stay_right_while_events_come_late_change_and_are_removed(
    api: GraphqlHandler,
    connection: psycopg.Connection,
    bring: Callable[[], Any],
    first: list[Event],
    done: list[tuple[Any, ...]],
    chosen: dict[str, Any],
    period: str,
    product: str | None,
) -> None:
    stored = Stored(connection, bring)
    for event in first:
        stored.insert(event)
    bring()
    for name, *arguments in done:
        getattr(stored, name)(*arguments)
    bring()
    given: dict[str, Any] = {"period": period, "thresholds": [1, 3], "product": product}
    for namespaces in GRANTS:
        model = PeopleModel(stored.events, None if namespaces == ["*"] else tuple(namespaces))
        assert ask(api, PEOPLE, *namespaces, **chosen, **given) == people(model, chosen, **given), namespaces
        rows = ask(api, SESSIONS, *namespaces, **chosen, groups=["USER", "DAY"], paths=["flow_type"])
        assert rows["aiInstanceSessions"] == _sorted(model, chosen), namespaces


def _sorted(model: PeopleModel, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    return model.session_rows(chosen, ["USER", "DAY"], ["flow_type"])
