"""`aiInstanceUsage` and `aiUsage` of namespaces: events counted in groups."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any

import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query.cut_text import cut
from functions.shared import clickhouse
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.metrics_model import DIMENSIONS, Event
from tests.support.random_events import EVENTS, FILTERS, GIVEN, TODAY, model_of, random_filters

QUERIES = 1_000 if os.environ.get("SOAK") else 60
COUNTS = ("TOTAL_COUNT", "USERS_COUNT", "FEATURES_COUNT", "RETURNING_USERS_COUNT", "PREVIOUS_PERIOD_USERS_COUNT")
USAGE = f"""
    query ({FILTERS}, $groups: [AiUsageDimension!], $paths: [String!], $order: [AiUsageOrder!], $first: Int) {{
        aiInstanceUsage({GIVEN}, groupBy: $groups, payloadGroupBy: $paths, orderBy: $order, first: $first) {{
            feature event user {{ id }} namespacePath projectId day week month payload
            totalCount usersCount featuresCount previousPeriodUsersCount returningUsersCount
        }}
    }}
"""


INSTANT = timedelta(microseconds=1)
MIDNIGHT = datetime.combine(TODAY, time(), UTC)
MONDAY = MIDNIGHT - timedelta(days=7 + TODAY.weekday())
FIRST = MIDNIGHT.replace(day=1)
LAST_MONTH = (FIRST - INSTANT).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
MONTH_BEFORE = (LAST_MONTH - INSTANT).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

# Where the previous period begins, where the period itself does, and where it ends.
PERIODS = {
    None: (MIDNIGHT - timedelta(days=9), MIDNIGHT - timedelta(days=4), MIDNIGHT + timedelta(days=1)),
    "DAY": (MIDNIGHT - timedelta(days=2), MIDNIGHT - timedelta(days=1), MIDNIGHT),
    "WEEK": (MONDAY - timedelta(days=7), MONDAY, MONDAY + timedelta(days=7)),
    "MONTH": (MONTH_BEFORE, LAST_MONTH, FIRST),
}


def usage(handler: GraphqlHandler, *namespaces: str, **variables: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(handler, USAGE, *namespaces, **variables)["aiInstanceUsage"]
    return rows


def random_groups(chance: Random) -> dict[str, Any]:
    """Draws random arguments of `aiUsage`."""
    groups = chance.sample(DIMENSIONS, chance.choice([0, 1, 1, 2, 3]))
    paths = ["language", "suggestion_size", "suggestion_size.a", "language[0]"]
    by = chance.sample([*COUNTS, *groups], chance.choice([0, 1, 1, 2, 3]))
    return {
        "groups": groups,
        "paths": chance.sample(paths, chance.choice([0, 0, 1, 2])),
        "order": [f"{name}_{chance.choice(['ASC', 'DESC'])}" for name in by],
        "first": chance.choice([1, 3, 1000]),
    }


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"], ["27/28/", "3/"]], ids=str)
def test_groups_of_events_are_counted(
    namespaces: list[str], api: GraphqlHandler, events: list[Event], bring: Callable[[], Any]
) -> None:
    bring()
    chance, model = Random(3), model_of(events, namespaces)
    for _ in range(QUERIES):
        filters, groups = random_filters(chance), random_groups(chance)
        expected = model.usage(filters, groups["groups"], groups["paths"], groups["order"])[: groups["first"]]
        assert usage(api, *namespaces, **filters, **groups) == expected, (filters, groups)


@pytest.mark.parametrize("store_name", ["clickhouse"])
def test_rows_that_clickhouse_was_sent_twice_count_once(
    either: GraphqlHandler, events: list[Event], clickhouse_url: str
) -> None:
    start = (TODAY - timedelta(days=30)).isoformat()
    given = {"startDate": start, "groups": ["FEATURE", "MONTH"], "paths": ["language"]}
    once = usage(either, **given)
    with clickhouse.connect(clickhouse_url, 60) as client:
        client.command("SYSTEM STOP MERGES ai_usage_events")
        client.command("INSERT INTO ai_usage_events SELECT * FROM ai_usage_events")
        ((rows,),) = client.query("SELECT count() FROM ai_usage_events").result_rows
    assert rows == 2 * EVENTS
    assert usage(either, **given) == once


@pytest.mark.parametrize("dimension", [None, "DAY", "WEEK", "MONTH"])
def test_the_previous_period_is_all_of_the_one_right_before(
    dimension: str | None, either: GraphqlHandler, insert: Insert
) -> None:
    before, start, end = PERIODS[dimension]
    for moment, user_id in (
        (before - INSTANT, 3),
        (before, 1),
        (start - INSTANT, 2),
        (start, 1),
        (end - INSTANT, 3),
        (end, 2),
    ):
        insert(moment, user_id=user_id)
    given = {"startDate": start.date().isoformat(), "endDate": (end - INSTANT).date().isoformat()}
    (row,) = usage(either, **given, groups=[dimension] if dimension else [])
    assert (row["usersCount"], row["previousPeriodUsersCount"], row["returningUsersCount"]) == (2, 2, 1)
    assert dimension is None or row[dimension.lower()] == start.date().isoformat()


@pytest.mark.parametrize("dimension", ["WEEK", "MONTH"])
def test_a_part_of_a_period_is_compared_with_all_of_the_one_before(
    dimension: str, either: GraphqlHandler, insert: Insert
) -> None:
    before, start, end = PERIODS[dimension]
    insert(before - INSTANT, user_id=1)
    for moment, user_id in ((before, 2), (start - INSTANT, 3), (start, 4), (start + timedelta(days=1), 2)):
        insert(moment, user_id=user_id)
    insert(end - INSTANT, user_id=3)
    second_day, last_day = ((start + timedelta(days=1)).date().isoformat(), (end - INSTANT).date().isoformat())
    (row,) = usage(either, startDate=second_day, endDate=second_day, groups=[dimension])
    assert (row["usersCount"], row["previousPeriodUsersCount"], row["returningUsersCount"]) == (1, 2, 1)
    (row,) = usage(either, startDate=last_day, endDate=last_day, groups=[dimension])
    assert (row["usersCount"], row["previousPeriodUsersCount"], row["returningUsersCount"]) == (1, 2, 1)


@pytest.mark.parametrize("dimension", ["WEEK", "MONTH"])
def test_a_range_that_begins_within_a_period_hides_nothing_of_it_from_the_next(
    dimension: str, either: GraphqlHandler, insert: Insert
) -> None:
    before, start, _ = PERIODS[dimension]
    insert(before, user_id=1)
    insert(start - INSTANT, user_id=2)
    insert(start, user_id=1)
    range_of_days = {"startDate": (start - INSTANT).date().isoformat(), "endDate": start.date().isoformat()}
    rows = usage(either, **range_of_days, groups=[dimension], order=[f"{dimension}_ASC"])
    counts = [(row["usersCount"], row["previousPeriodUsersCount"], row["returningUsersCount"]) for row in rows]
    assert counts == [(1, 0, 0), (1, 2, 1)]


def test_both_parts_of_a_week_in_two_months_have_one_week_before(either: GraphqlHandler, insert: Insert) -> None:
    first = next(month for month in (FIRST, LAST_MONTH, MONTH_BEFORE) if month.weekday() != 0)
    monday = first - timedelta(days=first.weekday())
    insert(monday - timedelta(days=7), user_id=1)
    insert(monday - INSTANT, user_id=2)
    insert(first - INSTANT, user_id=1)
    insert(first, user_id=2)
    range_of_days = {"startDate": monday.date().isoformat(), "endDate": first.date().isoformat()}
    rows = usage(either, **range_of_days, groups=["WEEK", "MONTH"], order=["MONTH_ASC"])
    assert {row["week"] for row in rows} == {monday.date().isoformat()}
    counts = [(row["usersCount"], row["previousPeriodUsersCount"], row["returningUsersCount"]) for row in rows]
    assert counts == [(1, 2, 1), (1, 2, 1)]


def test_a_group_that_only_the_previous_period_has_is_no_row(either: GraphqlHandler, insert: Insert) -> None:
    insert(NOW - timedelta(days=7), event=7, user_id=1, language="ruby")
    insert(NOW, event=6, user_id=1, language="go")
    (row,) = usage(either, groups=["EVENT"], paths=["language"])
    assert (row["event"], row["payload"]) == ("REQUEST_DUO_CHAT_RESPONSE", {"language": "go"})
    assert (row["previousPeriodUsersCount"], row["returningUsersCount"]) == (0, 0)
    (all_in_one,) = usage(either)
    assert (all_in_one["previousPeriodUsersCount"], all_in_one["returningUsersCount"]) == (1, 1)


def test_values_of_unlike_types_are_groups_of_their_own(either: GraphqlHandler, insert: Insert) -> None:
    for value in ("é", "b", "B", "1", "", 2.5, 1.0, 1, -3, 2**53 + 1, 2**53, True, False, [1], {"a": "b"}, None):
        insert(v=value)
    rows = usage(either, paths=["v"], order=["FEATURES_COUNT_ASC"])
    values = [row["payload"]["v"] for row in rows]
    assert values == [None, False, True, -3, 1, 2.5, 2**53, 2**53 + 1, "", "1", "B", "b", "é"]
    assert [type(value) for value in values[1:5]] == [bool, bool, int, int]
    assert [row["totalCount"] for row in rows[:5]] == [3, 1, 1, 1, 2]


WITHOUT_EVENTS: list[dict[str, Any]] = [{}, {"userIds": []}, {"events": []}, {"features": []}, {"userIds": ["5"]}]


def test_without_events_there_is_one_row_of_everything_and_none_of_groups(either: GraphqlHandler) -> None:
    for filters in WITHOUT_EVENTS:
        (row,) = usage(either, **filters)
        assert {value for name, value in row.items() if name.endswith("Count")} == {0}
        assert row["payload"] == {}
        assert usage(either, **filters, groups=["DAY"]) == usage(either, **filters, paths=["language"]) == []
    assert usage(either, "27/28", groups=["USER"]) == []  # the path is none: the token is for no namespace


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("orderBy: [DAY_ASC]", "orderBy DAY requires DAY in groupBy"),
        ("groupBy: [DAY], orderBy: [DAY_ASC, USER_ASC]", "orderBy USER requires USER in groupBy"),
        ("first: -1", "first must be from 0 to 1000"),
        ("first: 1001", "first must be from 0 to 1000"),
        ('payloadGroupBy: ["a..b"]', "payloadGroupBy: 'a..b' is not a path"),
        ('payloadGroupBy: ["a", "b", "c", "d", "e", "f"]', "at most 5 paths, not 6"),
        ('userIds: ["x"]', "is not a user's id"),
    ],
)
def test_an_argument_that_can_not_be_used_is_named(arguments: str, said: str, api: GraphqlHandler) -> None:
    status, answer = request(api, {"query": f"{{ aiInstanceUsage({arguments}) {{ totalCount }} }}"})
    assert status == 200
    (error,) = answer["errors"]
    assert said in error["message"]


def test_a_group_of_the_longest_text_can_be_paged_past(either: GraphqlHandler, insert: Insert) -> None:
    begins = "é" * 8_000
    texts = ["\n" * 8_000, *sorted([f"{begins}{end}" for end in "abc"], key=lambda text: cut(text, 1_800))]
    for text in reversed(texts):
        insert(path="27/", long=text)
    query = """query ($after: String) {
        aiInstanceUsage(payloadGroupBy: ["long"], first: 1, after: $after) { payload cursor }
    }"""
    found: list[str] = []
    after = None
    while rows := ask(either, query, after=after)["aiInstanceUsage"]:
        found += [row["payload"]["long"] for row in rows]
        after = rows[-1]["cursor"]
    assert found == texts
