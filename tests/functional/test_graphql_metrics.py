import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import Insert, ask, request
from tests.support.metrics_model import Event, Model
from tests.support.random_events import FILTERS, GIVEN, TODAY, model_of, random_filters

QUERIES = 300 if os.environ.get("SOAK") else 40
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
    seats { totalEventCount contributorsCount }
"""
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


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"], ["27/28/", "3/"]], ids=str)
def test_metrics_are_those_of_the_events_selected(
    namespaces: list[str],
    api: GraphqlHandler,
    events: list[Event],
    bring: Callable[[], Any],
) -> None:
    bring()
    chance, model = Random(1), model_of(events, namespaces)
    for _ in range(QUERIES):
        filters = random_filters(chance)
        assert ask(api, METRICS, *namespaces, **filters)["aiInstanceMetrics"] == model.metrics(filters), filters


@pytest.mark.parametrize("namespaces", [["*"], ["27/28/"]], ids=str)
def test_each_user_is_on_one_page_in_the_order_that_is_asked_for(
    namespaces: list[str],
    api: GraphqlHandler,
    events: list[Event],
    bring: Callable[[], Any],
) -> None:
    bring()
    chance, model = Random(2), model_of(events, namespaces)
    for _ in range(QUERIES // 4):
        filters = random_filters(chance)
        sort = f"{chance.choice(SORTS)}_{chance.choice(['ASC', 'DESC'])}"
        expected = model.user_metrics(filters, sort)
        size = chance.choice([1, 2, 3, 10])
        for backwards in (False, True):
            pages = list(pages_of_users(api, namespaces, filters | {"sort": sort}, size, backwards=backwards))
            assert [node for page in pages for node in page["nodes"]] == expected, (filters, sort)
            assert {page["count"] for page in pages} == {len(expected)}


def pages_of_users(
    handler: GraphqlHandler, namespaces: list[str], arguments: dict[str, Any], size: int, *, backwards: bool
) -> Iterator[Any]:
    """Returns the pages in order, read forwards or backwards."""
    limit, cursor, more, end = (
        ("last", "before", "hasPreviousPage", "startCursor")
        if backwards
        else ("first", "after", "hasNextPage", "endCursor")
    )
    pages: list[Any] = []
    position = None
    while not pages or pages[-1]["pageInfo"][more]:
        given = arguments | {limit: size, cursor: position}
        pages.append(ask(handler, USERS, *namespaces, **given)["aiInstanceUserMetrics"])
        position = pages[-1]["pageInfo"][end]
    return reversed(pages) if backwards else iter(pages)


NAMESPACE = f"""
    query ($path: ID!, $start: Date) {{
        namespace(fullPath: $path) {{
            aiMetrics(startDate: $start) {{ {FIGURES} usersCount featuresCount }}
            aiUserMetrics(startDate: $start) {{ count nodes {{ user {{ id }} lastDuoActivityOn {FIGURES} }} }}
            aiUsage(startDate: $start, groupBy: [NAMESPACE, WEEK], first: 1000) {{
                namespacePath week totalCount usersCount featuresCount previousPeriodUsersCount returningUsersCount
            }}
        }}
    }}
"""


@pytest.mark.parametrize(
    ("path", "namespaces", "is_found"),
    [
        ("27/28/", ["27/28/"], True),
        ("27/28/", ["27/"], True),
        ("27/28/", ["*"], True),
        ("27/28/5/", ["27/28/"], True),
        ("27/", ["*"], True),
        ("27/", ["27/28/"], False),
        ("27/281/", ["27/28/"], False),
    ],
)
def test_a_namespaces_metrics_are_of_what_is_in_it_and_below_alone(
    path: str, namespaces: list[str], is_found: bool, either: GraphqlHandler, events: list[Event]
) -> None:
    start = (TODAY - timedelta(days=35)).isoformat()
    namespace = ask(either, NAMESPACE, *namespaces, path=path, start=start)["namespace"]
    if not is_found:
        assert namespace is None
        return
    model, filters = Model(events, (path,)), {"startDate": start, "endDate": TODAY.isoformat()}
    assert namespace["aiMetrics"] == model.metrics(filters)
    of_users = model.user_metrics(filters, "TOTAL_EVENT_COUNT_DESC")
    assert namespace["aiUserMetrics"]["count"] == len(of_users)
    for node, user in zip(namespace["aiUserMetrics"]["nodes"], of_users, strict=True):
        assert node == {name: user[name] for name in node}
    rows = model.usage(filters, ["NAMESPACE", "WEEK"], [], [])
    assert namespace["aiUsage"] == [{name: row[name] for name in namespace["aiUsage"][0]} for row in rows]


SHIPPED = """
    { aiInstanceMetrics {
        codeSuggestions { ...Suggestions acceptanceRate languages ideNames }
        again: codeSuggestions { shownCount @skip(if: true) lines: acceptedLinesOfCode }
        troubleshootJob { troubleshootJobEventCount }
    } }
    fragment Suggestions on CodeSuggestionsMetrics { shownCount acceptedCount shownLinesOfCode acceptedLinesOfCode }
"""


def test_the_shipped_metrics_of_code_suggestions(either: GraphqlHandler, insert: Insert) -> None:
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
        ('aiInstanceUserMetrics(after: "x") { count }', "after is not a cursor of this connection"),
        ("aiInstanceUserMetrics(first: 1, last: 1) { count }", "or last and before, not both"),
        ('aiInstanceMetrics(userIds: ["x"]) { usersCount }', "is not a user's id"),
    ],
)
def test_an_argument_of_metrics_that_can_not_be_used_is_named(field: str, said: str, api: GraphqlHandler) -> None:
    status, answer = request(api, {"query": f"{{ {field} }}"})
    assert status == 200
    (error,) = answer["errors"]
    assert said in error["message"]


def test_a_cursor_of_users_is_for_the_order_that_it_came_with(either: GraphqlHandler, insert: Insert) -> None:
    insert()
    given = {"startDate": TODAY.isoformat(), "endDate": TODAY.isoformat(), "sort": "TOTAL_EVENT_COUNT_ASC"}
    cursor = ask(either, USERS, **given)["aiInstanceUserMetrics"]["pageInfo"]["endCursor"]
    variables = given | {"sort": "TOTAL_EVENT_COUNT_DESC", "after": cursor}
    _, answer = request(either, {"query": USERS, "variables": variables})
    assert "after is not a cursor of this connection: it belongs to another order" in answer["errors"][0]["message"]
