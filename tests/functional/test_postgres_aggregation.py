"""PostgreSQL's plans of aggregations and of the pages of projects."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.postgres.aggregation import read_aggregation
from functions.graphql.postgres.path_counts import PathCounts
from functions.graphql.postgres.people import read_people
from functions.graphql.postgres.store import PostgresStore
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.budget import Deadline
from functions.graphql.query.people import Activity, Earlier
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import PROJECT_ID, PageWindow, RequestedFields
from functions.shared.catalog.registry import load
from functions.shared.grant import EVERYTHING, Grant
from tests.support.clock import NOW

EVENTS = 20_000
MOMENT = (NOW.replace(day=1) - timedelta(days=1)).replace(day=15)  # far from other months, and their partitions
LEAF = "27/28/7/"  # with one event of a hundred
PROJECT = 7  # with one event of 199

_INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    SELECT gen_random_uuid(), %s - number * interval '1 second', 2, 1 + number %% 50,
           format('27/28/%%s/', number %% 100), 1 + number %% 199, '{"suggestion_size": 2, "language": "ruby"}'
    FROM generate_series(1, %s) AS numbers (number)
"""


@pytest.fixture
def plans(connection: psycopg.Connection) -> list[str]:
    """Stores many events, and collects the plans of all following statements on the connection."""
    connection.execute(_INSERT, [MOMENT, EVENTS])
    connection.execute("ANALYZE ai_usage_events")
    for setting in (
        "LOAD 'auto_explain'",
        "SET auto_explain.log_min_duration = 0",
        "SET client_min_messages = log",
    ):
        connection.execute(setting)
    seen: list[str] = []
    connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
    return seen


@pytest.mark.parametrize("dimensions", [(), (Dimension.USER,), (Dimension.WEEK, Dimension.DAY)], ids=str)
def test_what_is_counted_of_a_small_namespace_is_found_by_an_index(
    dimensions: tuple[Dimension, ...], connection: psycopg.Connection, plans: list[str]
) -> None:
    registry = load()
    selection = Selection((LEAF,), MOMENT - timedelta(days=7), MOMENT, tuple(registry.by_id))
    measures = [
        Measure(MeasureKind.EVENTS),
        Measure(MeasureKind.USERS),
        Measure(MeasureKind.SUM, path=("suggestion_size",)),
    ]
    if Dimension.DAY in dimensions:
        measures.append(Measure(MeasureKind.RETURNING_USERS))
    else:
        measures.append(Measure(MeasureKind.DISTINCT, path=("language",), value_type=str))
    rows = read_aggregation(
        Aggregation(selection, registry.feature_of, tuple(measures), dimensions=dimensions, limit=100), connection
    )
    assert sum(row[len(dimensions)] for row in rows) == EVENTS // 100
    assert len(plans) == (1 if Dimension.DAY in dimensions else 2)
    for plan in plans:
        assert "namespace_path_timestamp_id_event" in plan, plan
        assert "Seq Scan on ai_usage_events" not in plan, plan


@pytest.mark.parametrize(
    "dimensions", [(), (Dimension.USER,), (Dimension.NAMESPACE,), (Dimension.WEEK, Dimension.FEATURE)], ids=str
)
def test_what_needs_no_payload_is_counted_from_the_index_alone(
    dimensions: tuple[Dimension, ...], connection: psycopg.Connection, plans: list[str]
) -> None:
    registry = load()
    connection.execute("VACUUM ai_usage_events")
    plans.clear()
    measures = (Measure(MeasureKind.EVENTS), Measure(MeasureKind.USERS), Measure(MeasureKind.FEATURES))
    selection = Selection((LEAF,), MOMENT - timedelta(days=7), MOMENT, tuple(registry.by_id))
    aggregation = Aggregation(selection, registry.feature_of, measures, dimensions=dimensions, limit=100)
    rows = read_aggregation(aggregation, connection)
    assert sum(row[len(dimensions)] for row in rows) == EVENTS // 100
    (plan,) = plans
    assert "Index Only Scan" in plan, plan
    assert plan.count(" Scan using ") == plan.count("Index Only Scan"), plan


@pytest.mark.parametrize(("dimensions", "left_out"), [((), True), ((Dimension.USER,), False)], ids=str)
def test_events_that_nothing_is_measured_of_are_left_out_of_one_group(
    dimensions: tuple[Dimension, ...], connection: psycopg.Connection, plans: list[str], *, left_out: bool
) -> None:
    registry = load()
    measures = (Measure(MeasureKind.EVENTS, event_ids=(3, 2)), Measure(MeasureKind.EVENTS, event_ids=(4,)))
    selection = Selection((LEAF,), MOMENT - timedelta(days=7), MOMENT, (1, 2, 3, 4, 5))
    aggregation = Aggregation(selection, registry.feature_of, measures, dimensions=dimensions, limit=100)
    rows = read_aggregation(aggregation, connection)
    assert sum(row[len(dimensions)] for row in rows) == EVENTS // 100
    (plan,) = plans
    assert ("{2,3,4}" if left_out else "{1,2,3,4,5}") in plan, plan


@pytest.mark.parametrize("earlier", Earlier)
@pytest.mark.parametrize("period", Period)
def test_the_course_of_users_is_read_from_indexes_alone(
    period: Period, earlier: Earlier, connection: psycopg.Connection, plans: list[str]
) -> None:
    connection.execute("VACUUM ai_usage_events")
    plans.clear()
    selection = Selection((LEAF,), MOMENT - timedelta(days=7), MOMENT, tuple(load().by_id))
    since = period.number_of(selection.start.date())
    unslotted: Any = connection
    rows = read_people(Activity(selection, period, since=since, earlier=earlier, farthest=3), unslotted)
    assert rows
    for plan in plans:
        assert "Index Only Scan" in plan, plan
        assert "Seq Scan on ai_usage_events" not in plan, plan


class Unslotted:
    """Query slots that are always free, on one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def read(self, work: Callable[[Any], Any]) -> Any:
        return work(self._connection)


@pytest.mark.parametrize("backwards", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("namespaces", [None, ("27/",)], ids=["everywhere", "in namespaces"])
@pytest.mark.parametrize("projects", [(PROJECT,), (PROJECT, 8, 9)], ids=["one project", "projects"])
def test_a_page_of_projects_is_read_in_order_from_their_index(
    projects: tuple[int, ...],
    namespaces: tuple[str, ...] | None,
    backwards: bool,
    connection: psycopg.Connection,
    plans: list[str],
) -> None:
    connection.execute("SET enable_bitmapscan = off")  # as `GRAPHQL_OPTIONS`
    selection = Selection(namespaces, MOMENT - timedelta(days=7), MOMENT, tuple(load().by_id), project_ids=projects)
    slots: Any = Unslotted(connection)
    reader = PostgresStore(slots, Deadline(), Grant("1", (), (EVERYTHING,)), PathCounts())
    found = reader.events(selection, PageWindow(10, backwards=backwards), RequestedFields())
    assert len(found) == 10
    assert {row[PROJECT_ID] for row in found} == set(projects)
    (plan,) = plans
    assert "project_id_timestamp_id_idx" in plan, plan
    assert "Seq Scan on ai_usage_events" not in plan, plan


def test_what_is_counted_of_a_project_is_found_by_its_index(connection: psycopg.Connection, plans: list[str]) -> None:
    registry = load()
    within = (MOMENT - timedelta(days=7), MOMENT)
    selection = Selection(("27/",), *within, tuple(registry.by_id), project_ids=(PROJECT,))
    aggregation = Aggregation(selection, registry.feature_of, (Measure(MeasureKind.EVENTS),), limit=1)
    ((count,),) = read_aggregation(aggregation, connection)
    assert count == EVENTS // 199 + 1
    (plan,) = plans
    assert "project_id_timestamp_id_idx" in plan, plan


@pytest.mark.parametrize("kinds", [("FEATURES",), ("FEATURES", "USERS")], ids=str)
def test_more_features_are_counted_than_a_number_has_bits(
    kinds: tuple[str, ...], connection: psycopg.Connection
) -> None:
    feature_of = {event: f"feature_{event // 2}" for event in range(2, 302)}  # 150 features of two events
    connection.execute(
        """
        INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
        SELECT gen_random_uuid(), %s, event, event %% 7, '{}'
        FROM unnest(%s::int[]) AS event
        """,
        [MOMENT, list(feature_of)[:-2]],  # all but the last feature
    )
    selection = Selection(None, MOMENT, MOMENT + timedelta(hours=1), tuple(feature_of))
    measures = tuple(Measure(MeasureKind[kind]) for kind in kinds)
    total = read_aggregation(Aggregation(selection, feature_of, measures), connection)
    assert total == [(149, 7)[: len(kinds)]]
    by_feature = Aggregation(selection, feature_of, measures, dimensions=(Dimension.FEATURE,), limit=1000)
    rows = read_aggregation(by_feature, connection)
    assert [row[0] for row in rows] == sorted(set(feature_of.values()) - {"feature_150"})
    assert {row[1:] for row in rows} == {(1, 2)[: len(kinds)]}
