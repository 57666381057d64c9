"""`measures` of `aiUsage`: what else is measured of each group, and how rows are sorted, selected and paged by it."""

import base64
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request

MEASURED = """
    query ($measures: [AiUsageMeasure!], $groups: [AiUsageDimension!], $paths: [String!], $having: [AiUsageHaving!],
           $order: [AiUsageOrder!], $by: [AiUsageMeasureOrder!], $first: Int, $after: String) {
        aiInstanceUsage(measures: $measures, groupBy: $groups, payloadGroupBy: $paths, having: $having,
                        orderBy: $order, orderByMeasures: $by, first: $first, after: $after) {
            feature day payload totalCount cursor user { id }
            measures { name value }
        }
    }
"""


def rows(handler: GraphqlHandler, **variables: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(handler, MEASURED, **variables)["aiInstanceUsage"]
    return [row | {each["name"]: each["value"] for each in row["measures"]} for row in found]


def test_a_group_is_measured_by_sums_averages_extremes_quantiles_and_counts(
    either: GraphqlHandler, insert: Insert
) -> None:
    for ms in (10, 20, 2**53 + 1, 0.5, "7", None, True, [1], {"a": 1}):
        insert(event=2, ms=ms)
    insert(event=3, ms=10.0)
    asked = [
        {"name": "sum", "sum": "ms"},
        {"name": "avg", "avg": "ms"},
        {"name": "least", "min": "ms"},
        {"name": "most", "max": "ms"},
        {"name": "median", "quantile": 0.5, "of": "ms"},
        {"name": "kinds", "distinct": "ms"},
        {
            "name": "shown",
            "count": {"events": ["CODE_SUGGESTION_SHOWN_IN_IDE"], "payload": [{"path": "ms", "gte": 10}]},
        },
        {"name": "rate", "ratio": {"of": {"payload": [{"path": "ms", "eq": 10}]}, "to": {"features": ["CHAT"]}}},
        {"name": "share", "ratio": {"of": {"payload": [{"path": "ms", "eq": 10}]}, "to": {}}},
        {"name": "declared", "metric": "codeSuggestions.acceptanceRate"},
        {"name": "nothing", "max": "no"},
    ]
    (row,) = rows(either, measures=asked)
    del row["cursor"], row["measures"]
    assert row == {
        "feature": None,
        "day": None,
        "user": None,
        "payload": {},
        "totalCount": 10,
        "sum": float(2**53 + 1 + Fraction("40.5")),
        "avg": (2**53 + 41.5) / 5,
        "least": 0.5,
        "most": 2**53 + 1,
        "median": 10,
        "kinds": 6,
        "shown": 3,
        "rate": None,
        "share": 0.2,
        "declared": 1 / 9,
        "nothing": None,
    }


@pytest.mark.parametrize("store_name", ["clickhouse"])
def test_a_query_over_twenty_years_is_answered_with_each_month(
    api: GraphqlHandler, bring: Callable[[], Any], client: Client
) -> None:
    bring()
    client.command(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload, version)"
        " SELECT generateUUIDv4(), toDateTime64('2016-01-15 00:00:00', 6, 'UTC') + toIntervalMonth(number % 120),"
        " 2, number, '{\"ms\": 10}', 1 FROM numbers(1200)",
        settings={"max_partitions_per_insert_block": 1000},
    )
    query = """{
        aiInstanceUsage(
            startDate: "2006-01-01", endDate: "2026-11-30", groupBy: [MONTH], orderBy: [MONTH_ASC], first: 1000,
            measures: [{name: "p95", quantile: 0.95, of: "ms"}, {name: "sum", sum: "ms"}]) {
            month totalCount usersCount returningUsersCount measures { value }
        }
    }"""
    found = ask(api, query)["aiInstanceUsage"]
    assert len(found) == 120
    assert {(row["totalCount"], row["returningUsersCount"]) for row in found} == {(10, 0)}
    assert {tuple(each["value"] for each in row["measures"]) for row in found} == {(10, 100)}


def test_rows_beyond_a_thousand_are_read_page_by_page(either: GraphqlHandler, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " SELECT gen_random_uuid(), %s, 6, number, jsonb_build_object('cost', (number %% 7) * 0.1)"
        " FROM generate_series(1, 2500) AS numbers (number)",
        [NOW],
    )
    cost = [{"name": "cost", "sum": "cost"}]
    found: list[dict[str, Any]] = []
    after = None
    for size in (1000, 1000, 500):
        page = rows(either, measures=cost, groups=["USER"], by=[{"name": "cost"}], first=1000, after=after)
        assert len(page) == size
        found += page
        after = page[-1]["cursor"]
    assert rows(either, measures=cost, groups=["USER"], by=[{"name": "cost"}], after=after) == []
    assert [int(row["user"]["id"]) for row in found] == sorted(range(1, 2501), key=lambda user: (-(user % 7), user))


def test_two_measures_that_compare_as_equal_in_python_are_told_apart(either: GraphqlHandler, insert: Insert) -> None:
    for value in (1, True, True):
        insert(v=value)
    asked = [{"name": name, "count": {"payload": [{"path": "v", "eq": eq}]}} for name, eq in (("a", 1), ("b", True))]
    (row,) = rows(either, measures=asked, by=[{"name": "b"}], having=[{"name": "b", "eq": 2}])
    assert (row["a"], row["b"]) == (1, 2)


def test_without_events_sums_are_null_and_counts_are_zero(either: GraphqlHandler) -> None:
    asked = [
        {"name": "sum", "sum": "v"},
        {"name": "kinds", "distinct": "v"},
        {"name": "rate", "metric": "codeSuggestions.acceptanceRate"},
    ]
    (row,) = rows(either, measures=asked)
    assert (row["sum"], row["kinds"], row["rate"]) == (None, 0, None)
    (row,) = rows(either, measures=asked, having=[{"name": "sum", "exists": False}, {"name": "totalCount", "lt": 1}])
    assert row["kinds"] == 0
    assert rows(either, measures=asked, having=[{"name": "sum", "lt": 1}]) == []
    assert rows(either, measures=asked, groups=["DAY"]) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"measures": [{"name": "a"}]},
        "a needs one of sum, avg, min, max, distinct, quantile, count, ratio, metric, not 0",
    ),
    ({"measures": [{"name": "a", "sum": "v", "avg": "v"}]}, "not 2 of them"),
    ({"measures": [{"name": "a b", "sum": "v"}]}, "'a b' is not a name of letters, digits and underscores"),
    ({"measures": [{"name": "a", "sum": "v"}, {"name": "a", "avg": "v"}]}, "the name 'a' is taken"),
    ({"measures": [{"name": "totalCount", "sum": "v"}]}, "the name 'totalCount' is taken"),
    ({"measures": [{"name": f"a{number}", "sum": "v"} for number in range(21)]}, "at most 20 measures, not 21"),
    ({"measures": [{"name": "a", "sum": "v..w"}]}, "measures: 'v..w' is not a path"),
    ({"measures": [{"name": "a", "quantile": 0.5}]}, "a needs quantile and of together"),
    ({"measures": [{"name": "a", "sum": "v", "of": "v"}]}, "a needs quantile and of together"),
    ({"measures": [{"name": "a", "quantile": 95, "of": "v"}]}, "quantile must be from 0 to 1, not 95"),
    ({"measures": [{"name": "a", "metric": "chat.no"}]}, "no definition declares 'chat.no'"),
    ({"measures": [{"name": "a", "count": {"payload": [{"path": "v"}]}}]}, "a filter needs at least one of"),
    ({"having": [{"name": "a", "gt": 1}]}, "having: no number of the row is called 'a'; there are totalCount, "),
    ({"having": [{"name": "totalCount"}]}, "totalCount needs at least one of eq, ne"),
    ({"having": [{"name": "totalCount", "gt": "1"}]}, "having: gt takes a number"),
    ({"having": [{"name": "totalCount", "gt": True}]}, "having: gt takes a number"),
    ({"having": [{"name": "totalCount", "gt": 1}] * 21}, "at most 20 conditions, not 21"),
    ({"by": [{"name": "a"}]}, "orderByMeasures: no number of the row is called 'a'"),
    ({"after": "x"}, "after is not a cursor of these rows: the text is malformed"),
    ({"after": "é"}, "after is not a cursor of these rows: the text is malformed"),
]


@pytest.mark.parametrize(("variables", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_can_not_be_measured_is_refused_with_the_reason(
    variables: dict[str, Any], said: str, api: GraphqlHandler
) -> None:
    _, answer = request(api, {"query": MEASURED, "variables": variables})
    (error,) = answer["errors"]
    assert said in error["message"]


def test_a_cursor_of_other_rows_or_made_up_is_refused(either: GraphqlHandler, insert: Insert) -> None:
    insert(v=1)
    (row,) = rows(either, groups=["DAY"])
    for variables in ({"groups": ["USER"]}, {"groups": ["DAY"], "by": [{"name": "usersCount"}]}):
        _, answer = request(either, {"query": MEASURED, "variables": {**variables, "after": row["cursor"]}})
        assert "it belongs to other groups, or to another order" in answer["errors"][0]["message"]
    digest, *values = json.loads(base64.urlsafe_b64decode(row["cursor"]))
    for forged in (
        [],
        ["NaN", *values[1:]],
        ["1e999999", *values[1:]],
        [values[0], "9999-12-31"],
        [values[0], {}],
        [1, 2],
    ):
        after = base64.urlsafe_b64encode(json.dumps([digest, *forged]).encode()).decode()
        _, answer = request(either, {"query": MEASURED, "variables": {"groups": ["DAY"], "after": after}})
        assert "the text is malformed" in answer["errors"][0]["message"], forged
