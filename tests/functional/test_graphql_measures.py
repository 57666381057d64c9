"""`measures` of `aiUsage`: what else is measured of each group, and how rows are sorted, selected and paged by it."""

from fractions import Fraction
from typing import Any

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import Insert, ask

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
