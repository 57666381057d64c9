from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from functions.graphql.clickhouse.store import ClickHouseStore
from functions.graphql.handler import GraphqlHandler
from functions.graphql.postgres.store import PostgresStore
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request

PAGE = """
    query ($first: Int, $after: String, $last: Int, $before: String) {
        aiInstanceUsageData {
            chatEvents(first: $first, after: $after, last: $last, before: $before) {
                nodes { id }
                pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            }
        }
    }
"""
USERS_PAGE = """
    query ($first: Int, $after: String, $last: Int, $before: String) {
        aiInstanceUserMetrics(first: $first, after: $after, last: $last, before: $before) {
            edges { cursor }
        }
    }
"""

# Hours ago: several events are of one moment.
TIES = (0, 1, 1, 1, 1, 2, 3, 3, 4, 5, 5, 5)


def page(handler: GraphqlHandler, **variables: Any) -> Any:
    return ask(handler, PAGE, **variables)["aiInstanceUsageData"]["chatEvents"]


def ids(page: Any) -> list[str]:
    return [node["id"] for node in page["nodes"]]


def stored(insert: Insert) -> list[str]:
    """Stores events, and returns their ids in the order of a Relay connection."""
    moments = {insert(NOW - timedelta(hours=hours)): -hours for hours in TIES}
    return sorted(moments, key=lambda identifier: (moments[identifier], UUID(identifier).int), reverse=True)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 12, 13])
def test_pages_are_the_same_sequence_in_both_directions(size: int, either: GraphqlHandler, insert: Insert) -> None:
    expected = stored(insert)
    forwards: list[str] = []
    found = page(either, first=size)
    while True:
        forwards += ids(found)
        assert len(found["nodes"]) <= size
        if not found["pageInfo"]["hasNextPage"]:
            break
        found = page(either, first=size, after=found["pageInfo"]["endCursor"])
    assert forwards == expected
    backwards: list[str] = []
    found = page(either, last=size)
    assert found["pageInfo"]["hasNextPage"] is False
    while True:
        backwards = ids(found) + backwards
        assert len(found["nodes"]) <= size
        if not found["pageInfo"]["hasPreviousPage"]:
            break
        found = page(either, last=size, before=found["pageInfo"]["startCursor"])
        assert found["pageInfo"]["hasNextPage"] is True
    assert backwards == expected


def test_what_comes_after_a_cursor_and_before_it_is_all_but_its_own(either: GraphqlHandler, insert: Insert) -> None:
    expected = stored(insert)
    query = "{ aiInstanceUsageData { chatEvents { edges { cursor node { id } } } } }"
    edges = ask(either, query)["aiInstanceUsageData"]["chatEvents"]["edges"]
    assert [edge["node"]["id"] for edge in edges] == expected
    for place, edge in enumerate(edges):
        assert ids(page(either, after=edge["cursor"])) == expected[place + 1 :]
        assert ids(page(either, before=edge["cursor"])) == expected[:place]
        assert ids(page(either, last=2, before=edge["cursor"])) == expected[max(0, place - 2) : place]


def test_an_empty_connection_has_no_cursors_and_no_other_page(either: GraphqlHandler) -> None:
    info = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert page(either) == page(either, last=5) == {"nodes": [], "pageInfo": info}


def test_a_page_of_nothing_says_whether_there_is_more(either: GraphqlHandler, insert: Insert) -> None:
    insert()
    nothing = {"startCursor": None, "endCursor": None}
    assert page(either, first=0) == {
        "nodes": [],
        "pageInfo": nothing | {"hasNextPage": True, "hasPreviousPage": False},
    }
    assert page(either, last=0) == {"nodes": [], "pageInfo": nothing | {"hasNextPage": False, "hasPreviousPage": True}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the calls of each method of the store."""
    calls: Counter[str] = Counter()
    for store in (PostgresStore, ClickHouseStore):
        for name in ("events", "count", "aggregate"):
            monkeypatch.setattr(store, name, counted(getattr(store, name), name, calls))
    return calls


def counted(method: Any, name: str, calls: Counter[str]) -> Any:
    def call(*arguments: Any) -> Any:
        calls[name] += 1
        return method(*arguments)

    return call


@pytest.mark.parametrize(
    ("selected", "calls"),
    [
        ("nodes { id } edges { cursor node { id } } pageInfo { hasNextPage endCursor }", {"events": 1}),
        ("pageInfo { startCursor }", {"events": 1}),
        ("nodes { id } count", {"events": 1, "count": 1}),
        ("count again: count", {"count": 1}),
        ("__typename", {}),
    ],
)
def test_a_page_is_read_once_and_counted_only_where_that_is_asked_for(
    selected: str, calls: dict[str, int], either: GraphqlHandler, insert: Insert, asked: Counter[str]
) -> None:
    expected = stored(insert)
    query = f"{{ aiInstanceUsageData {{ all(first: 3) {{ {selected} }} }} }}"
    found = ask(either, query)["aiInstanceUsageData"]["all"]
    assert asked == calls
    assert found.get("count", len(expected)) == len(expected)


def test_the_count_is_of_all_pages_with_the_filters(either: GraphqlHandler, insert: Insert) -> None:
    stored(insert)
    for event in (2, 2, 3, 32767):
        insert(event=event, path="27/28/", kind="x")
    query = """{
        aiInstanceUsageData {
            all(first: 1) { count }
            shown: all(events: [CODE_SUGGESTION_SHOWN_IN_IDE], last: 0) { count }
            codeSuggestionEvents { count }
            none: chatEvents(features: [CODE_SUGGESTIONS]) { count }
            some: all(payload: [{path: "kind", eq: "x"}]) { count }
        }
        namespace(fullPath: "27/") { aiUsageData { all { count } } }
    }"""
    answer = ask(either, query)
    counts = {name: found["count"] for name, found in answer["aiInstanceUsageData"].items()}
    assert counts == {"all": 15, "shown": 2, "codeSuggestionEvents": 3, "none": 0, "some": 3}
    assert answer["namespace"]["aiUsageData"]["all"]["count"] == 3


BOTH = "Use either first and after, or last and before, not both."


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"first": 1, "last": 1}, BOTH),
        ({"first": 1, "before": "x"}, BOTH),
        ({"after": "x", "before": "x"}, BOTH),
        ({"last": -1}, "last must be from 0 to 1000, not -1."),
        ({"last": 1001}, "last must be from 0 to 1000, not 1001."),
        ({"before": "nonsense"}, "before is not a cursor of this connection"),
        ({"after": "AAAA"}, "after is not a cursor of this connection"),
        ({"after": "é"}, "after is not a cursor of this connection"),
        ({"before": ""}, "before is not a cursor of this connection"),
        ({"after": "f" * 32}, "after is not a cursor of this connection"),
    ],
)
@pytest.mark.parametrize("query", [PAGE, USERS_PAGE], ids=["events", "users"])
def test_a_page_that_there_can_not_be_is_refused(query: str, variables: Any, said: str, api: GraphqlHandler) -> None:
    _, answer = request(api, {"query": query, "variables": variables})
    (error,) = answer["errors"]
    assert said in error["message"]


def test_a_cursor_is_of_its_own_kind_of_connection(api: GraphqlHandler, insert: Insert) -> None:
    for user_id in (1, 2):
        insert(user_id=user_id)
    of_event = page(api, first=1)["pageInfo"]["endCursor"]
    (edge,) = ask(api, USERS_PAGE, first=1)["aiInstanceUserMetrics"]["edges"]
    sorted_otherwise = USERS_PAGE.replace("(first:", "(sort: DUO_CHAT_INTERACTIONS_COUNT_DESC, first:")
    for query, cursor in ((PAGE, edge["cursor"]), (USERS_PAGE, of_event), (sorted_otherwise, edge["cursor"])):
        _, answer = request(api, {"query": query, "variables": {"after": cursor}})
        (error,) = answer["errors"]
        assert "after is not a cursor of this connection" in error["message"]
    assert len(ask(api, USERS_PAGE, after=edge["cursor"])["aiInstanceUserMetrics"]["edges"]) == 1


def test_a_cursor_is_of_any_connection_of_events(either: GraphqlHandler, insert: Insert) -> None:
    """All connections of events have one order, so a client may continue with another filter."""
    expected = stored(insert)
    cursor = page(either, first=4)["pageInfo"]["endCursor"]
    query = "query ($after: String) { aiInstanceUsageData { all(after: $after) { nodes { id } } } }"
    assert ids(ask(either, query, after=cursor)["aiInstanceUsageData"]["all"]) == expected[4:]


def test_a_page_goes_on_where_it_ended_though_the_event_there_is_gone(
    either: GraphqlHandler, insert: Insert, connection: Any
) -> None:
    expected = stored(insert)
    cursor = page(either, first=4)["pageInfo"]["endCursor"]
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [expected[3]])
    assert ids(page(either, after=cursor)) == expected[4:]
