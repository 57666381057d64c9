import json
import os
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from random import Random
from types import ModuleType
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.graphql import NOW, Insert, ask, request
from tests.metrics_model import DIMENSIONS, Event, Model

QUERIES = 300 if os.environ.get("SOAK") else 40
EVENTS = 400
TODAY = NOW.date()
PATHS = ["27/", "27/28/", "27/28/5/", "27/281/", "27/29/", "3/", None]
SORTS = (
    "TOTAL_EVENT_COUNT",
    "CODE_SUGGESTIONS_ACCEPTED_COUNT",
    "DUO_CHAT_INTERACTIONS_COUNT",
    "CODE_SUGGESTIONS_SHOWN_LINES_OF_CODE",
)

FIGURES = """
    totalEventCount
    codeSuggestions {
        totalEventCount contributorsCount codeSuggestionRejectedInIdeEventCount
        shownCount acceptedCount shownLinesOfCode acceptedLinesOfCode acceptanceRate languages
    }
    chat { totalEventCount contributorsCount }
"""
FILTERS = "$startDate: Date, $endDate: Date, $events: [AiUsageEventType!], $features: [AiUsageFeature!], "
FILTERS += "$userIds: [ID!], $payload: [PayloadFilter!]"
GIVEN = "startDate: $startDate, endDate: $endDate, events: $events, features: $features, userIds: $userIds, "
GIVEN += "payload: $payload"
METRICS = f"query ({FILTERS}) {{ aiInstanceMetrics({GIVEN}) {{ {FIGURES} usersCount featuresCount }} }}"
USERS = f"""
    query ({FILTERS}, $sort: AiUserMetricsSort, $first: Int, $after: String, $last: Int, $before: String) {{
        aiInstanceUserMetrics({GIVEN}, sort: $sort, first: $first, after: $after, last: $last, before: $before) {{
            nodes {{ user {{ id }} lastDuoActivityOn codeSuggestionsAcceptedCount duoChatInteractionsCount {FIGURES} }}
            pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
            count
        }}
    }}
"""
USAGE = f"""
    query ({FILTERS}, $groups: [AiUsageDimension!], $paths: [String!], $order: [AiUsageOrder!], $first: Int) {{
        aiInstanceUsage({GIVEN}, groupBy: $groups, payloadGroupBy: $paths, orderBy: $order, first: $first) {{
            feature event user {{ id }} namespacePath day week month payload
            totalCount usersCount featuresCount previousPeriodUsersCount returningUsersCount
        }}
    }}
"""


def random_events(chance: Random) -> list[Event]:
    """Events of three months, with payloads of all sorts."""
    sizes: list[Any] = [1, 5, 5.0, 2.5, "5", True, [5], {"a": 5}, None, 2**63 - 1]
    languages: list[Any] = ["ruby", "go", "Go", "é", "1", 1, 1.0, True, ["ruby"], None]
    midnight = datetime.combine(TODAY, time(), NOW.tzinfo)
    return [
        Event(
            timestamp=midnight
            - timedelta(days=chance.choice([0, 1, 2, 6, 7, 8, 13, 20, 30, 31, 45, 60]))
            + chance.choice([timedelta(0), timedelta(hours=12), timedelta(days=1) - timedelta(microseconds=1)]),
            event=chance.choice([*range(1, 23), 2, 3, 6, 2, 3, 6, 32_000]),
            user=chance.choice([1, 2, 3, 5, 8, 13, 2**62]),
            path=chance.choice(PATHS),
            payload={
                key: value
                for key, value in (("suggestion_size", chance.choice(sizes)), ("language", chance.choice(languages)))
                if value is not None
            },
        )
        for _ in range(EVENTS)
    ]


def random_filters(chance: Random) -> dict[str, Any]:
    """Arguments that select some of the events."""
    start, end = sorted(chance.sample([0, 1, 2, 5, 6, 7, 12, 13, 14, 30, 59], 2), reverse=True)
    filters: dict[str, Any] = {
        "startDate": (TODAY - timedelta(days=start)).isoformat(),
        "endDate": (TODAY - timedelta(days=end)).isoformat(),
    }
    optional: dict[str, list[Any]] = {
        "events": [["CODE_SUGGESTION_SHOWN_IN_IDE", "REQUEST_DUO_CHAT_RESPONSE"], [], ["TROUBLESHOOT_JOB"]],
        "features": [["CODE_SUGGESTIONS"], ["CHAT", "CODE_REVIEW"]],
        "userIds": [["1", "2", "99"], [str(2**62)]],
        "payload": [
            [{"path": "suggestion_size", "gte": 2}],
            [{"path": "language", "in": ["ruby", "go", 1]}, {"path": "suggestion_size", "exists": True}],
            [{"path": "language", "ne": "ruby"}],
        ],
    }
    return filters | {name: chance.choice(values) for name, values in optional.items() if chance.random() < 0.3}


@pytest.fixture
def events(connection: psycopg.Connection) -> list[Event]:
    """Random events, stored."""
    made = random_events(Random(7))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (UUID(int=number), each.timestamp, each.event, each.user, each.path, json.dumps(each.payload))
                for number, each in enumerate(made)
            ],
        )
    return made


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"], ["27/28/", "3/"]], ids=str)
def test_metrics_are_those_of_the_events_selected(
    namespaces: list[str],
    either: ModuleType,
    events: list[Event],
) -> None:
    chance, model = Random(1), model_of(events, namespaces)
    for _ in range(QUERIES):
        filters = random_filters(chance)
        assert ask(either, METRICS, *namespaces, **filters)["aiInstanceMetrics"] == model.metrics(filters), filters


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"]], ids=str)
def test_each_user_is_on_one_page_in_the_order_that_is_asked_for(
    namespaces: list[str],
    either: ModuleType,
    events: list[Event],
) -> None:
    chance, model = Random(2), model_of(events, namespaces)
    for _ in range(QUERIES // 4):
        filters = random_filters(chance)
        sort = f"{chance.choice(SORTS)}_{chance.choice(['ASC', 'DESC'])}"
        expected = model.user_metrics(filters, sort)
        size = chance.choice([1, 2, 3, 10])
        for backwards in (False, True):
            pages = list(pages_of_users(either, namespaces, filters | {"sort": sort}, size, backwards=backwards))
            assert [node for page in pages for node in page["nodes"]] == expected, (filters, sort)
            assert {page["count"] for page in pages} == {len(expected)}


def pages_of_users(
    module: ModuleType, namespaces: list[str], arguments: dict[str, Any], size: int, *, backwards: bool
) -> Iterator[Any]:
    """The pages in their order, read from the beginning or from the end."""
    limit, cursor, more, end = (
        ("last", "before", "hasPreviousPage", "startCursor")
        if backwards
        else ("first", "after", "hasNextPage", "endCursor")
    )
    pages: list[Any] = []
    position = None
    while not pages or pages[-1]["pageInfo"][more]:
        given = arguments | {limit: size, cursor: position}
        pages.append(ask(module, USERS, *namespaces, **given)["aiInstanceUserMetrics"])
        position = pages[-1]["pageInfo"][end]
    return reversed(pages) if backwards else iter(pages)


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"]], ids=str)
def test_groups_of_events_are_counted(
    namespaces: list[str],
    either: ModuleType,
    events: list[Event],
) -> None:
    chance, model = Random(3), model_of(events, namespaces)
    for _ in range(QUERIES):
        filters = random_filters(chance)
        dimensions = chance.sample(DIMENSIONS, chance.choice([0, 1, 1, 2, 3]))
        paths = chance.sample(["language", "suggestion_size", "suggestion_size.a"], chance.choice([0, 0, 1, 2]))
        by = chance.choice(["TOTAL_COUNT", "USERS_COUNT", "PREVIOUS_PERIOD_USERS_COUNT", *dimensions])
        order = f"{by}_{chance.choice(['ASC', 'DESC'])}"
        first = chance.choice([1, 3, 1000])
        given = filters | {"groups": dimensions, "paths": paths, "order": [order], "first": first}
        rows = ask(either, USAGE, *namespaces, **given)["aiInstanceUsage"]
        assert rows == model.usage(filters, dimensions, paths, order)[:first], given


def model_of(events: list[Event], namespaces: list[str]) -> Model:
    return Model(events, None if namespaces == ["*"] else tuple(namespaces))


SHIPPED = """
    { aiInstanceMetrics {
        codeSuggestions { ...Suggestions acceptanceRate languages ideNames }
        again: codeSuggestions { shownCount @skip(if: true) lines: acceptedLinesOfCode }
        troubleshootJob { troubleshootJobEventCount }
    } }
    fragment Suggestions on CodeSuggestionsMetrics { shownCount acceptedCount shownLinesOfCode acceptedLinesOfCode }
"""


def test_the_shipped_metrics_of_code_suggestions(either: ModuleType, insert: Insert) -> None:
    nothing = ask(either, SHIPPED)["aiInstanceMetrics"]["codeSuggestions"]
    assert (nothing["shownCount"], nothing["shownLinesOfCode"], nothing["acceptanceRate"]) == (0, 0, None)
    assert (nothing["languages"], nothing["ideNames"]) == ([], [])
    for size, language in ((3, "ruby"), (4, "go"), (None, "ruby"), (5, None)):
        insert(event=2, suggestion_size=size, language=language, ide_name="VSCode")
    insert(event=3, suggestion_size=3, language="ruby", ide_name="Neovim")
    insert(event=7)
    metrics = ask(either, SHIPPED)["aiInstanceMetrics"]
    assert metrics == {
        "codeSuggestions": {
            "shownCount": 4,
            "acceptedCount": 1,
            "shownLinesOfCode": 12,
            "acceptedLinesOfCode": 3,
            "acceptanceRate": 0.25,
            "languages": ["go", "ruby"],
            "ideNames": ["Neovim", "VSCode"],
        },
        "again": {"lines": 3},
        "troubleshootJob": {"troubleshootJobEventCount": 1},
    }


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("aiInstanceUsage(orderBy: [DAY_ASC]) { totalCount }", "orderBy names DAY, by which groupBy does not group"),
        ("aiInstanceUsage(first: -1) { totalCount }", "first must be from 0 to 1000"),
        ('aiInstanceUsage(payloadGroupBy: ["a..b"]) { totalCount }', "payloadGroupBy: 'a..b' is no path"),
        ('aiInstanceUsage(payloadGroupBy: ["a", "b", "c", "d", "e", "f"]) { totalCount }', "at most 5 paths, not 6"),
        ('aiInstanceUserMetrics(after: "x") { count }', "after is no cursor"),
        ("aiInstanceUserMetrics(first: 1, last: 1) { count }", "not by both"),
        ('aiInstanceMetrics(userIds: ["x"]) { usersCount }', "is no user's id"),
    ],
)
def test_an_argument_of_metrics_that_can_not_be_used_is_named(field: str, said: str, api: ModuleType) -> None:
    status, answer = request(api, {"query": f"{{ {field} }}"})
    assert status == 200
    (error,) = answer["errors"]
    assert said in error["message"]


def test_a_cursor_of_users_is_for_the_order_that_it_came_with(either: ModuleType, insert: Insert) -> None:
    insert()
    given = {"startDate": TODAY.isoformat(), "endDate": TODAY.isoformat(), "sort": "TOTAL_EVENT_COUNT_ASC"}
    cursor = ask(either, USERS, **given)["aiInstanceUserMetrics"]["pageInfo"]["endCursor"]
    variables = given | {"sort": "TOTAL_EVENT_COUNT_DESC", "after": cursor}
    _, answer = request(either, {"query": USERS, "variables": variables})
    assert "after is no cursor: it is of another order" in answer["errors"][0]["message"]
