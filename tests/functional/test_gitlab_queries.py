"""Queries that GitLab's documentation shows answer unchanged, sessions by flow among them."""

from datetime import timedelta
from statistics import median
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query.cut_text import cut
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request

CREATED, STARTED, FINISHED, DROPPED = 8, 9, 19, 20

USAGE_DATA = """query { aiUsageData { all(startDate: "2026-11-01") { nodes { event extras user { username } } } } }"""
METRICS = """query { group(fullPath: "gitlab-org") { aiMetrics { codeSuggestions(languages: ["ruby"]) { shownCount \
acceptedCount } agentPlatform(flowTypes: ["chat"]) { startedSessionEventCount flowMetrics { flowType sessionsCount \
medianExecutionTime completionRate } } } } }"""
USER_METRICS = """query { group(fullPath: "gitlab-org") { aiUserMetrics(sort: TOTAL_EVENTS_COUNT_DESC) { nodes { user {
name username lastDuoActivityOn } totalEventCount codeSuggestions { acceptedCount } agentPlatform {
startedSessionEventCount } } } } }"""
FLOWS = "flowMetrics { flowType sessionsCount usersCount completionRate medianExecutionTime }"
USER_FLOWS = """query ($first: Int, $after: String, $last: Int, $before: String) {
    aiInstanceMetrics { agentPlatform {
        userFlowCounts(first: $first, after: $after, last: $last, before: $before) {
            nodes { flowType sessionsCount user { id username } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            count
        }
    } }
}"""


@pytest.fixture
def group(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO namespaces VALUES (9, '9/', 'gitlab-org')")


def session(insert: Insert, number: int, flow: str | None, seconds: float | None, user: int = 1, **given: Any) -> None:
    """Stores a session that lasts so long, or that never finishes."""
    begun = given.pop("begun", NOW - timedelta(hours=1))
    payload = {"session_id": number} | ({} if flow is None else {"flow_type": flow})
    place = given.pop("path", "9/")
    insert(begun, CREATED, user, place, **payload)
    insert(begun + timedelta(milliseconds=1), STARTED, user, place, **payload)
    if seconds is not None:
        insert(begun + timedelta(seconds=seconds), FINISHED, user, place, **payload)


@pytest.mark.usefixtures("group")
def test_the_documented_queries_answer(either: GraphqlHandler, insert: Insert) -> None:
    insert(event=2, path="9/", language="ruby")
    insert(event=3, path="9/", language="ruby")
    insert(event=2, path="9/", language="go")
    session(insert, 1, "chat", 10)
    session(insert, 2, "chat", 20)
    session(insert, 3, "chat", None)
    session(insert, 4, "fix", 5)
    nodes = ask(either, USAGE_DATA)["aiUsageData"]["all"]["nodes"]
    assert len(nodes) == 14
    assert {"event": "CODE_SUGGESTION_SHOWN_IN_IDE", "extras": {"language": "go"}, "user": {"username": None}} in nodes
    assert ask(either, METRICS)["group"]["aiMetrics"] == {
        "codeSuggestions": {"shownCount": 1, "acceptedCount": 1},
        "agentPlatform": {
            "startedSessionEventCount": 3,
            "flowMetrics": [
                {
                    "flowType": "chat",
                    "sessionsCount": 3,
                    "medianExecutionTime": 15.0,
                    "completionRate": pytest.approx(200 / 3),
                }
            ],
        },
    }
    (user,) = ask(either, USER_METRICS)["group"]["aiUserMetrics"]["nodes"]
    assert user == {
        "user": {"name": None, "username": None, "lastDuoActivityOn": str(NOW.date())},
        "totalEventCount": 14,
        "codeSuggestions": {"acceptedCount": 1},
        "agentPlatform": {"startedSessionEventCount": 4},
    }


def test_a_session_counts_where_it_begins_and_ends_when_it_likes(either: GraphqlHandler, insert: Insert) -> None:
    first = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
    session(insert, 1, "chat", 60, begun=first - timedelta(seconds=30))  # begins before the period
    session(insert, 2, "chat", 86_400 * 8, begun=first)  # ends after a shorter period
    session(insert, 2, "fix", None, path="3/")  # another namespace's session of the same id
    session(insert, 4, None, None)
    insert(event=FINISHED, flow_type="chat")  # of no session
    day = str(first.date())
    query = f"""query ($end: Date) {{
        aiInstanceMetrics(startDate: "{day}", endDate: $end) {{ agentPlatform {{ {FLOWS} }} }}
    }}"""
    (short,) = ask(either, query, end=day)["aiInstanceMetrics"]["agentPlatform"]["flowMetrics"]
    assert short == {
        "flowType": "chat",
        "sessionsCount": 1,
        "usersCount": 1,
        "completionRate": 100.0,
        "medianExecutionTime": 86_400 * 8.0,
    }
    found = ask(either, query)["aiInstanceMetrics"]["agentPlatform"]["flowMetrics"]
    assert [(flow["flowType"], flow["sessionsCount"], flow["medianExecutionTime"]) for flow in found] == [
        (None, 1, None),
        ("chat", 1, 86_400 * 8.0),
        ("fix", 1, None),
    ]


def test_a_token_sees_only_sessions_of_its_namespaces(either: GraphqlHandler, insert: Insert) -> None:
    session(insert, 1, "chat", 10)
    session(insert, 2, "fix", 10, path="3/4/", user=7)
    session(insert, 3, "secret", 10, path="31/", user=8)
    session(insert, 4, "none", 10, path=None, user=8)
    users = "userFlowCounts { nodes { user { id } } count }"
    query = f"{{ aiInstanceMetrics {{ agentPlatform {{ {FLOWS} {users} }} }} }}"
    found = ask(either, query, "3/")["aiInstanceMetrics"]["agentPlatform"]
    assert [flow["flowType"] for flow in found["flowMetrics"]] == ["fix"]
    assert found["userFlowCounts"] == {"nodes": [{"user": {"id": "7"}}], "count": 1}


def test_sessions_of_each_user_are_counted_by_flow(either: GraphqlHandler, insert: Insert) -> None:
    for number in range(3):
        session(insert, number, "chat", 1, user=1)
    session(insert, 5, "fix", 1, user=1)
    session(insert, 6, "chat", 1, user=2)
    session(insert, 7, None, 1, user=2)
    expected = [("1", "chat", 3), ("1", "fix", 1), ("2", None, 1), ("2", "chat", 1)]

    def page(**given: Any) -> Any:
        return ask(either, USER_FLOWS, **given)["aiInstanceMetrics"]["agentPlatform"]["userFlowCounts"]

    def rows(found: Any) -> list[tuple[str, str | None, int]]:
        return [(node["user"]["id"], node["flowType"], node["sessionsCount"]) for node in found["nodes"]]

    whole = page()
    assert (rows(whole), whole["count"]) == (expected, 4)
    seen, after = [], None
    while True:
        found = page(first=1, after=after)
        seen += rows(found)
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
    assert seen == expected
    assert rows(page(last=2)) == expected[2:]
    assert rows(page(last=2, before=whole["pageInfo"]["endCursor"])) == expected[1:3]
    by_user = f"""{{ aiInstanceUserMetrics {{ nodes {{ user {{ id }}
        agentPlatform {{ {FLOWS} userFlowCounts {{ nodes {{ flowType }} }} }} }} }} }}"""
    nodes = {node["user"]["id"]: node for node in ask(either, by_user)["aiInstanceUserMetrics"]["nodes"]}
    assert [flow["sessionsCount"] for flow in nodes["1"]["agentPlatform"]["flowMetrics"]] == [3, 1]
    assert nodes["2"]["agentPlatform"]["userFlowCounts"] == {"nodes": [{"flowType": None}, {"flowType": "chat"}]}


def test_sessions_of_the_longest_flows_can_be_paged_past(either: GraphqlHandler, insert: Insert) -> None:
    flows = sorted([f"{'x' * 15_000}{end}" for end in "abc"], key=lambda text: cut(text, 1_800))
    for number, flow in enumerate(flows):
        session(insert, number, flow, 1)
    for forward, size, beyond in ((True, "first", "after"), (False, "last", "before")):
        seen, cursor = [], None
        for _ in flows:
            found = ask(either, USER_FLOWS, **{size: 1, beyond: cursor})["aiInstanceMetrics"]["agentPlatform"]
            page = found["userFlowCounts"]
            seen += [node["flowType"] for node in page["nodes"]]
            cursor = page["pageInfo"]["endCursor"]
            assert page["count"] == len(flows)
        assert seen == (flows if forward else flows[::-1])


@pytest.mark.parametrize("cursor", ["", "x", "bm8=", "W10="])
def test_a_cursor_of_sessions_that_is_none_is_refused(cursor: str, api: GraphqlHandler) -> None:
    _, answer = request(api, {"query": USER_FLOWS, "variables": {"after": cursor}})
    assert "is not a cursor of this connection" in answer["errors"][0]["message"]


EVENT = st.tuples(
    st.sampled_from(["9/", "9/2/", "8/"]),
    st.integers(1, 3),  # session
    st.sampled_from([CREATED, STARTED, FINISHED, DROPPED]),
    st.integers(0, 20),  # half days before now
    st.integers(1, 2),  # user
    st.sampled_from(["chat", "fix", None]),
)


def modelled(events: list[Any], days: int) -> list[tuple[Any, ...]]:
    """The figures of sessions by flow, as a plain loop computes them."""
    sessions: dict[Any, list[Any]] = {}
    for event in sorted(events, key=lambda event: -event[3]):
        if event[2] in (CREATED, STARTED) or event[:2] in sessions:
            sessions.setdefault(event[:2], []).append(event)
    start = (NOW - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    groups: dict[str, list[tuple[int, bool, float | None]]] = {}
    for found in sessions.values():
        begun = NOW - timedelta(hours=12 * found[0][3])
        if begun < start:
            continue
        ended = [NOW - timedelta(hours=12 * event[3]) for event in found if event[2] in (FINISHED, DROPPED)]
        is_completed = any(event[2] == FINISHED for event in found)
        time = (max(ended) - begun).total_seconds() if ended else None
        groups.setdefault(found[0][5] or "", []).append((found[0][4], is_completed, time))
    rows = []
    for flow, members in groups.items():
        times = [time for _, _, time in members if time is not None]
        rate = 100 * sum(completed for _, completed, _ in members) / len(members)
        rows.append(
            (flow or None, len(members), len({user for user, _, _ in members}), rate, median(times) if times else None)
        )
    return sorted(rows, key=lambda row: (-row[1], row[0] or ""))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENT, max_size=15, unique_by=lambda event: event[:2] + event[3:4]), days=st.integers(1, 12))
def test_sessions_are_those_of_a_plain_model(
    events: list[Any], days: int, either: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    connection.execute("DELETE FROM ai_usage_events")
    for place, number, event, halves, user, flow in events:
        payload = {"session_id": number} | ({"flow_type": flow} if flow else {})
        insert(NOW - timedelta(hours=12 * halves), event, user, place, **payload)
    start = str((NOW - timedelta(days=days - 1)).date())
    query = f'{{ aiInstanceMetrics(startDate: "{start}") {{ agentPlatform {{ {FLOWS} }} }} }}'
    found = ask(either, query)["aiInstanceMetrics"]["agentPlatform"]["flowMetrics"]
    expected = modelled(events, days)
    assert [tuple(flow.values())[:3] for flow in found] == [row[:3] for row in expected]
    for flow, row in zip(found, expected, strict=True):
        assert flow["completionRate"] == pytest.approx(row[3])
        assert flow["medianExecutionTime"] == (None if row[4] is None else pytest.approx(row[4]))
