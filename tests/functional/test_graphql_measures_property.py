"""Whatever events there are, whoever asks for whichever measures: both stores answer as a plain model does."""

import os
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.graphql.handler import GraphqlHandler
from functions.ingest.event.storable import normalised
from functions.ingest.payload_encoder import encode_payload
from tests.support.clock import NOW
from tests.support.graphql import ask
from tests.support.measures_model import MeasuresModel
from tests.support.metrics_model import Event
from tests.support.random_events import FILTERS, GIVEN, TODAY

EXAMPLES = 300 if os.environ.get("SOAK") else 5
QUERIES = 4  # of each example
USAGE = f"""
    query ({FILTERS}, $groups: [AiUsageDimension!], $paths: [String!], $measures: [AiUsageMeasure!],
           $having: [AiUsageHaving!], $by: [AiUsageMeasureOrder!], $first: Int, $after: String) {{
        aiInstanceUsage({GIVEN}, groupBy: $groups, payloadGroupBy: $paths, measures: $measures, having: $having,
                        orderByMeasures: $by, first: $first, after: $after) {{
            feature event user {{ id }} namespacePath projectId day week month payload totalCount usersCount cursor
            measures {{ name value }}
        }}
    }}
"""
INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

MIDNIGHT = datetime.combine(TODAY, time(), NOW.tzinfo)
NUMBERS: list[Any] = [
    *(0, 1, 2, 7, -3, 10, 20, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.1, 0.2, 2.5, -0.0, 5.0, 1e20, 2.0**53, 1e-7, 5e-324, 123456.789, 1e300, -1e300),
]
OTHERS: list[Any] = ["5", "1e3", "", "ruby", True, False, None, [5], [], {"v": 5}, {}]
VALUES = st.sampled_from(NUMBERS) | st.sampled_from(OTHERS) | st.floats(-1e6, 1e6) | st.integers(-(2**63), 2**64 - 1)
PATHS = ["v", "o.v", "list[0]", "suggestion_size", "language", "none"]
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "v": VALUES,
        "o": st.fixed_dictionaries({}, optional={"v": VALUES}),
        "list": st.lists(st.sampled_from([1, 2.5, "x", True, 2**53 + 1]), max_size=1),
        "suggestion_size": VALUES,
        "language": st.sampled_from(["ruby", "go", 1, True, None]),
    },
)
DAYS = [0, 1, 2, 6, 7, 30, 31, 60]
EVENTS = st.builds(
    Event,
    st.builds(
        lambda day, seconds: MIDNIGHT - timedelta(days=day) + timedelta(seconds=seconds),
        st.sampled_from(DAYS),
        st.sampled_from([0, 1, 86_399]),
    ),
    st.sampled_from([2, 3, 2, 3, 6, 7, 1001, 32_000]),
    st.sampled_from([1, 2, 2**63 - 1]),
    st.sampled_from(["27/", "27/28/", "27/281/", "3/", None]),
    st.sampled_from([4, None]),
    PAYLOADS.map(normalised),
)
CHANGES = st.lists(
    st.tuples(st.just("change"), st.integers(0, 11), EVENTS) | st.tuples(st.just("remove"), st.integers(0, 11)),
    max_size=4,
)
CONDITIONS = st.sampled_from(
    [
        [],
        [{"path": "v", "gte": 2}],
        [{"path": "v", "eq": 1}],
        [{"path": "v", "eq": True}],
        [{"path": "language", "ne": "ruby"}, {"path": "suggestion_size", "exists": True}],
    ]
)
COUNTS = st.fixed_dictionaries(
    {},
    optional={
        "events": st.sampled_from([["CODE_SUGGESTION_SHOWN_IN_IDE"], ["REQUEST_DUO_CHAT_RESPONSE"], []]),
        "features": st.sampled_from([["CODE_SUGGESTIONS"], ["CHAT", "TROUBLESHOOT_JOB"], ["SEATS"]]),
        "payload": CONDITIONS,
    },
)
WAYS = st.one_of(
    *(st.fixed_dictionaries({way: st.sampled_from(PATHS)}) for way in ("sum", "avg", "min", "max", "distinct")),
    st.fixed_dictionaries({"quantile": st.sampled_from([0, 0.25, 0.5, 0.9, 1]), "of": st.sampled_from(PATHS)}),
    st.fixed_dictionaries({"count": COUNTS}),
    st.fixed_dictionaries({"ratio": st.fixed_dictionaries({"of": COUNTS, "to": COUNTS})}),
    st.fixed_dictionaries(
        {
            "metric": st.sampled_from(
                [
                    "codeSuggestions.acceptanceRate",
                    "codeSuggestions.contributorsCount",
                    "codeSuggestions.shownLinesOfCode",
                    "codeSuggestions.languages",
                ]
            )
        }
    ),
)
DIMENSIONS = ["FEATURE", "EVENT", "USER", "NAMESPACE", "PROJECT", "DAY", "WEEK", "MONTH"]
GRANTS: list[list[str]] = [["*"], ["27/28/"], ["27/", "3/"], ["99/"]]


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    """Draws the arguments of a query."""
    start, end = sorted((draw(st.sampled_from(DAYS)) for _ in range(2)), reverse=True)
    ways = draw(st.lists(WAYS, min_size=1, max_size=5))
    measures = [{"name": f"m{number}"} | way for number, way in enumerate(ways)]
    names = [each["name"] for each in measures] + ["totalCount", "usersCount"]
    operand = st.sampled_from([0, 1, 2, 2**53 + 1, 0.1, 2.5])
    condition = st.fixed_dictionaries(
        {"name": st.sampled_from(names)},
        optional={"gt": operand, "lte": operand, "ne": operand, "exists": st.booleans()},
    ).filter(lambda each: len(each) > 1)
    ordered = st.fixed_dictionaries({"name": st.sampled_from(names), "direction": st.sampled_from(["ASC", "DESC"])})
    return {
        "startDate": (TODAY - timedelta(days=start)).isoformat(),
        "endDate": (TODAY - timedelta(days=end)).isoformat(),
        "events": draw(
            st.sampled_from([None, None, None, ["CODE_SUGGESTION_SHOWN_IN_IDE", "TROUBLESHOOT_JOB"], ["SEAT_ASSIGNED"]])
        ),
        "payload": draw(CONDITIONS),
        "groups": draw(st.lists(st.sampled_from(DIMENSIONS), max_size=2, unique=True)),
        "paths": draw(st.lists(st.sampled_from(["v", "language", "list[0]"]), max_size=1)),
        "measures": measures,
        "having": draw(st.lists(condition, max_size=1)),
        "by": draw(st.lists(ordered, min_size=1, max_size=2, unique_by=lambda each: each["name"])),
    }


def written(event: Event) -> tuple[Any, ...]:
    return (*event[:5], encode_payload(event.payload).decode())


def change(connection: psycopg.Connection, stored: dict[int, Event], done: tuple[Any, ...]) -> None:
    """Changes or removes an event in PostgreSQL and in the list of events."""
    name, number, *event = done
    if number not in stored:
        return
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [UUID(int=number)])
    del stored[number]
    if name == "change":
        stored[number] = event[0]
        connection.execute(INSERT, (UUID(int=number), *written(event[0])))


def pages(handler: GraphqlHandler, namespaces: list[str], query: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Returns all rows, read page by page, with the measures among the fields."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = ask(handler, USAGE, *namespaces, **query, first=size, after=after)["aiInstanceUsage"]
        found += page
        if len(page) < size:
            break
        after = page[-1]["cursor"]
    rows = []
    for row in found:
        del row["cursor"]
        rows.append(row | {each["name"]: each["value"] for each in row.pop("measures")})
    return rows


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-38) if isinstance(value, float) else value


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
@given(
    st.lists(EVENTS, min_size=1, max_size=10),
    st.lists(EVENTS, max_size=2),
    CHANGES,
    st.lists(st.tuples(st.sampled_from(GRANTS), queries(), st.integers(1, 4)), min_size=QUERIES, max_size=QUERIES),
)
def test_measures_equal_a_plain_model(
    api: GraphqlHandler,
    bring: Callable[[], Any],
    connection: psycopg.Connection,
    first: list[Event],
    late: list[Event],
    changes: list[tuple[Any, ...]],
    asked: list[tuple[list[str], dict[str, Any], int]],
) -> None:
    connection.execute("DELETE FROM ai_usage_events")
    stored = dict(enumerate(first))
    for number, event in stored.items():
        connection.execute(INSERT, (UUID(int=number), *written(event)))
    bring()
    for number, event in enumerate(late, start=len(first)):
        stored[number] = event
        connection.execute(INSERT, (UUID(int=number), *written(event)))
    for done in changes:
        change(connection, stored, done)
    bring()
    for namespaces, query, size in asked:
        model = MeasuresModel(list(stored.values()), None if namespaces == ["*"] else tuple(namespaces))
        expected = [
            {name: near(value) for name, value in row.items() if name[:8] not in ("features", "previous", "returnin")}
            for row in model.rows(query)
        ]
        assert pages(api, namespaces, query, size) == expected, (namespaces, query, stored)
