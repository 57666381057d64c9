"""GitLab's names in GraphQL, which definitions declare, answer as those of this schema do."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query.reads import MeasuredEvents
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request

SHOWN, ACCEPTED, CHAT, TROUBLESHOOT, CREATED, STARTED, FINISHED = 2, 3, 6, 7, 8, 9, 19
COUNTS = "codeSuggestionsShownCount codeSuggestionsAcceptedCount duoChatInteractionsCount"
CONTRIBUTORS = """
    codeSuggestionsContributorsCount duoChatContributorsCount rootCauseAnalysisUsersCount codeContributorsCount
    duoUsedCount
"""
OTHER_NAMES = [
    ("agentPlatform", "agenticChat"),
    ("troubleshootJob", "troubleshoot"),
]
SORTS = {
    "TOTAL_EVENTS_COUNT": "TOTAL_EVENT_COUNT",
    "CHAT_TOTAL_COUNT": "CHAT_TOTAL_EVENT_COUNT",
    "AGENT_PLATFORM_TOTAL_COUNT": "AGENT_PLATFORM_TOTAL_EVENT_COUNT",
    "AGENTIC_CHAT_TOTAL_COUNT": "AGENT_PLATFORM_TOTAL_EVENT_COUNT",
    "AGENTIC_CHAT_CONTRIBUTORS_COUNT": "AGENT_PLATFORM_CONTRIBUTORS_COUNT",
    "TROUBLESHOOT_TOTAL_EVENT_COUNT": "TROUBLESHOOT_JOB_TOTAL_EVENT_COUNT",
    "MCP_TOTAL_COUNT": "MCP_TOTAL_EVENT_COUNT",
}


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def used(insert: Insert) -> None:
    """Events of some users, of today and of days that have rollups."""
    for days in (0, 2, 4):
        moment = NOW - timedelta(days=days)
        insert(moment, SHOWN, 1, "1/", language="ruby", ide_name="vim", suggestion_size=2)
        insert(moment, SHOWN, 2, "1/", language="go", ide_name="vim")
        insert(moment, SHOWN, 2, "1/", language="ruby")
        insert(moment, ACCEPTED, 1, "1/", language="ruby", ide_name="code", suggestion_size=2)
        insert(moment, SHOWN, 3, "1/")
        insert(moment, CHAT, 4, "1/")
        insert(moment, TROUBLESHOOT, 4, "1/", job_id=1)
        insert(moment, 13, 5, "1/")
        insert(moment, CREATED, 5, "1/", session_id=days, flow_type="chat")
        insert(moment, STARTED, 5, "1/", session_id=days, flow_type="chat")
        insert(moment, FINISHED, 6, "1/", session_id=days, flow_type="fix")


def metrics(handler: GraphqlHandler, fields: str) -> Any:
    return ask(handler, f"{{ aiInstanceMetrics {{ {fields} }} }}")["aiInstanceMetrics"]


@pytest.mark.usefixtures("used")
def test_metrics_beside_features_count_what_definitions_say(either: GraphqlHandler) -> None:
    assert metrics(either, f"{COUNTS} {CONTRIBUTORS}") == {
        "codeSuggestionsShownCount": 12,
        "codeSuggestionsAcceptedCount": 3,
        "duoChatInteractionsCount": 3,
        "codeSuggestionsContributorsCount": 3,
        "duoChatContributorsCount": 1,
        "rootCauseAnalysisUsersCount": 1,
        "codeContributorsCount": 4,
        "duoUsedCount": 6,
    }
    query = f"{{ aiInstanceUserMetrics {{ nodes {{ user {{ id }} {COUNTS} }} }} }}"
    found = {node["user"]["id"]: node for node in ask(either, query)["aiInstanceUserMetrics"]["nodes"]}
    assert [found["1"][name] for name in COUNTS.split()] == [3, 3, 0]
    assert [found["4"][name] for name in COUNTS.split()] == [0, 0, 3]


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(("field", "other"), OTHER_NAMES)
def test_other_names_of_metrics_answer_alike(field: str, other: str, either: GraphqlHandler) -> None:
    figures = "{ totalEventCount contributorsCount }"
    found = metrics(either, f"{field} {figures} {other} {figures} both: {other} {figures}")
    assert found[field] == found[other] == found["both"]
    assert found[field]["totalEventCount"] > 0
    of_users = f"nodes {{ {field} {figures} {other} {figures} }}"
    nodes = ask(either, f"{{ aiInstanceUserMetrics {{ {of_users} }} }}")["aiInstanceUserMetrics"]["nodes"]
    assert [node[field] for node in nodes] == [node[other] for node in nodes]


# (arguments, the figures shownCount, acceptedCount, contributorsCount, languages)
ARGUMENTS: list[tuple[str, tuple[int, int, int, list[str]]]] = [
    ("", (12, 3, 3, ["go", "ruby"])),
    ('(languages: ["ruby"])', (6, 3, 2, ["ruby"])),
    ('(languages: ["ruby", "go"])', (9, 3, 2, ["go", "ruby"])),
    ('(languages: ["ruby"], ideNames: ["vim"])', (3, 0, 1, ["ruby"])),
    ('(not: {languages: ["ruby"]})', (6, 0, 2, ["go"])),
    ('(languages: ["ruby"], not: {ideNames: ["vim"]})', (3, 3, 2, ["ruby"])),
    ("(languages: [])", (0, 0, 0, [])),
    ("(not: {languages: []})", (12, 3, 3, ["go", "ruby"])),
    ("(languages: null, not: null)", (12, 3, 3, ["go", "ruby"])),
    ('(languages: ["python"])', (0, 0, 0, [])),
]


@pytest.mark.usefixtures("used")
def test_arguments_of_metrics_select_events_by_their_payload(either: GraphqlHandler) -> None:
    figures = "{ shownCount acceptedCount contributorsCount languages acceptanceRate }"
    for given, expected in ARGUMENTS:
        found = metrics(
            either, f"all: codeSuggestions {figures} some: codeSuggestions{given} {figures} totalEventCount"
        )
        assert tuple(found["all"].values())[:4] == ARGUMENTS[0][1], given
        assert tuple(found["some"].values())[:4] == expected, given
        assert found["some"]["acceptanceRate"] == (expected[1] / expected[0] if expected[0] else None), given
        assert found["totalEventCount"] == 33


@pytest.mark.usefixtures("used")
def test_fields_with_arguments_are_measured_in_one_read(either: GraphqlHandler) -> None:
    figures = "{ shownCount acceptedCount contributorsCount acceptanceRate }"
    selecting = [(given, expected) for given, expected in ARGUMENTS if given and "null" not in given]
    fields = [f"field_{number}: codeSuggestions{given} {figures}" for number, (given, _) in enumerate(selecting)]
    fields.append('agentPlatform(flowTypes: ["chat"]) { startedSessionEventCount usersCount: contributorsCount }')
    aggregate = MeasuredEvents.aggregate
    with patch.object(MeasuredEvents, "aggregate", autospec=True, side_effect=aggregate) as reads:
        *found, sessions = metrics(either, " ".join(fields)).values()
    assert reads.call_count == 1
    for (given, (shown, accepted, contributors, _)), values in zip(selecting, found, strict=True):
        rate = accepted / shown if shown else None
        assert tuple(values.values()) == (shown, accepted, contributors, rate), given
    assert sessions == {"startedSessionEventCount": 3, "usersCount": 1}


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize("length", [1, 5_000], ids=["many figures", "long arguments"])
def test_as_many_fields_with_arguments_as_may_be_are_answered(length: int, either: GraphqlHandler) -> None:
    selecting = 'codeSuggestions(languages: ["ruby", $other, "{}"]) {{ ...figures }}'
    fields = " ".join(f"field_{number}: {selecting.format(number)}" for number in range(20))
    figures = "shownCount acceptedCount contributorsCount acceptanceRate"
    query = f"""query ($other: String!) {{ aiInstanceMetrics {{ {fields} }} }}
        fragment figures on CodeSuggestionsMetrics {{ {figures} }}"""
    found = ask(either, query, other="x" * length)["aiInstanceMetrics"]
    assert [tuple(values.values()) for values in found.values()] == [(6, 3, 2, 0.5)] * 20


@pytest.mark.usefixtures("used")
def test_arguments_of_metrics_select_the_events_of_each_user(either: GraphqlHandler) -> None:
    figures = "{ shownCount contributorsCount languages acceptanceRate }"
    query = f"""{{ aiInstanceUserMetrics(sort: CODE_SUGGESTIONS_TOTAL_COUNT_DESC, first: 3) {{ nodes {{
        user {{ id }} all: codeSuggestions {figures} ruby: codeSuggestions(languages: ["ruby"]) {figures}
    }} }} }}"""
    nodes = {node["user"]["id"]: node for node in ask(either, query)["aiInstanceUserMetrics"]["nodes"]}
    assert nodes["1"]["ruby"] == {
        "shownCount": 3,
        "contributorsCount": 1,
        "languages": ["ruby"],
        "acceptanceRate": 1.0,
    }
    assert nodes["2"]["all"]["shownCount"] == 6
    assert nodes["2"]["ruby"]["shownCount"] == 3
    nothing = {"shownCount": 0, "contributorsCount": 0, "languages": [], "acceptanceRate": None}
    assert nodes["3"]["ruby"] == nothing


@pytest.mark.usefixtures("used")
def test_steps_of_sessions_are_counted_for_the_flows_asked_for(either: GraphqlHandler) -> None:
    steps = "{ createdSessionEventCount startedSessionEventCount finishedSessionEventCount droppedSessionEventCount }"
    found = metrics(
        either,
        f"""agentPlatform {steps} chat: agentPlatform(flowTypes: ["chat"]) {steps}
            others: agenticChat(not: {{flowTypes: ["chat"]}}) {steps}""",
    )
    assert [list(found[name].values()) for name in ("agentPlatform", "chat", "others")] == [
        [3, 3, 3, 0],
        [3, 3, 0, 0],
        [0, 0, 3, 0],
    ]


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(("name", "sort"), SORTS.items())
def test_other_names_of_orders_are_the_same_order(name: str, sort: str, either: GraphqlHandler) -> None:
    query = """query ($sort: AiUserMetricsSort, $after: String) {
        aiInstanceUserMetrics(sort: $sort, first: 2, after: $after) { nodes { user { id } } pageInfo { endCursor } }
    }"""
    for direction in ("ASC", "DESC"):
        first, other = (
            ask(either, query, sort=f"{each}_{direction}")["aiInstanceUserMetrics"] for each in (name, sort)
        )
        assert first == other
        after = first["pageInfo"]["endCursor"]
        ask(either, query, sort=f"{sort}_{direction}", after=after)  # either name takes the other's cursor


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('(languages: ["a\\u0000"])', "languages: contains U+0000; no payload does."),
        ("(languages: [1])", "String cannot represent"),
        ("(not: {flowTypes: []})", "not to include unknown field 'flowTypes'"),
    ],
)
def test_an_argument_of_metrics_that_can_not_be_used_is_named(arguments: str, said: str, api: GraphqlHandler) -> None:
    others = " ".join(
        f'{name}: codeSuggestions(languages: ["{name}"]) {{ acceptedCount }}' for name in ("go", "ruby", "java")
    )
    fields = f"{others} codeSuggestions{arguments} {{ shownCount }}"
    _, answer = request(api, {"query": f"{{ aiInstanceMetrics {{ {fields} }} }}"})
    assert said in answer["errors"][0]["message"]


def test_former_names_of_a_feature_answer_and_are_deprecated(either: GraphqlHandler, insert: Insert) -> None:
    insert(event=STARTED, session_id=3, flow_type="chat")
    insert(event=CHAT)
    query = """{
        aiUsageData {
            agenticChatEvents(features: [AGENTIC_CHAT]) { nodes { event sessionId } count }
            all(features: [AGENTIC_CHAT]) {
                nodes { __typename ... on AgenticChatEvent { flowType } ... on AgentPlatformEvent { sessionId } }
            }
        }
        aiInstanceMetrics { agenticChat { ... on AgenticChatMetrics { totalEventCount } } }
        aiInstanceUsage(features: [AGENTIC_CHAT], groupBy: [FEATURE]) { feature totalCount }
    }"""
    assert ask(either, query) == {
        "aiUsageData": {
            "agenticChatEvents": {
                "nodes": [{"event": "AGENT_PLATFORM_SESSION_STARTED", "sessionId": 3}],
                "count": 1,
            },
            "all": {"nodes": [{"__typename": "AgentPlatformEvent", "flowType": "chat", "sessionId": 3}]},
        },
        "aiInstanceMetrics": {"agenticChat": {"totalEventCount": 1}},
        "aiInstanceUsage": [{"feature": "AGENT_PLATFORM", "totalCount": 1}],
    }
    fields = "fields(includeDeprecated: true) { name deprecationReason }"
    types = ask(
        either, f'{{ data: __type(name: "AiUsageData") {{ {fields} }} of: __type(name: "AiMetrics") {{ {fields} }} }}'
    )
    reasons = {field["name"]: field["deprecationReason"] for part in types.values() for field in part["fields"]}
    assert reasons["agenticChatEvents"] == "Use `agentPlatformEvents`."
    assert reasons["agenticChat"] == "Use `agentPlatform`."
    assert reasons["agentPlatform"] is reasons["troubleshoot"] is None


def test_extras_is_the_payload(either: GraphqlHandler, insert: Insert) -> None:
    insert(event=SHOWN, language="ruby", branch_name="b")
    fields = 'payload extras some: extras(paths: ["language"])'
    query = f"{{ aiUsageData {{ all {{ nodes {{ nodeId {fields} }} edges {{ node {{ {fields} }} }} }} }} }}"
    data = ask(either, query)["aiUsageData"]["all"]
    (node,) = data["nodes"]
    identifier = node.pop("nodeId")
    assert node == data["edges"][0]["node"]
    assert node["payload"] == node["extras"] == {"language": "ruby", "branch_name": "b"}
    assert node["some"] == {"language": "ruby"}
    again = ask(either, f'{{ node(id: "{identifier}") {{ ... on AiUsageEvent {{ {fields} }} }} }}')
    assert again["node"] == node


NAME = "INSERT INTO user_names (user_id, namespace_path, username, stated_at) VALUES (%s, %s, %s, %s)"
USER = "user { id username name avatarUrl webPath webUrl lastDuoActivityOn }"


def test_a_user_has_addresses_and_the_day_of_the_last_activity(
    either: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    insert(NOW - timedelta(days=1), CHAT, 1, "1/")
    insert(NOW - timedelta(days=40), SHOWN, 2, "1/")
    insert(NOW, CHAT, 2, "3/")
    connection.execute(NAME, [1, "1/", "root", NOW])
    either.web_base_url = "https://gitlab.example.com"
    yesterday = (NOW - timedelta(days=1)).date()
    named = {
        "id": "1",
        "username": "root",
        "name": None,
        "avatarUrl": None,
        "webPath": "/root",
        "webUrl": "https://gitlab.example.com/root",
        "lastDuoActivityOn": str(yesterday),
    }
    unknown = dict.fromkeys(named) | {"id": "2", "lastDuoActivityOn": str((NOW - timedelta(days=40)).date())}
    start = str((NOW - timedelta(days=50)).date())
    query = f"""query ($start: Date) {{
        aiUsageData {{ all(startDate: $start) {{ nodes {{ {USER} }} edges {{ node {{ {USER} }} }} }} }}
        aiInstanceUserMetrics(startDate: $start, sort: TOTAL_EVENTS_COUNT_DESC) {{ nodes {{ {USER} }} }}
        aiInstanceUsage(startDate: $start, groupBy: [USER], orderBy: [USER_ASC]) {{ {USER} }}
        node(id: "gid://gitlab/User/1") {{ ... on User {{ webUrl lastDuoActivityOn }} }}
    }}"""
    found = ask(either, query, "1/", start=start)
    nodes = [node["user"] for node in found["aiUsageData"]["all"]["nodes"]]
    assert nodes == [named, unknown] == [edge["node"]["user"] for edge in found["aiUsageData"]["all"]["edges"]]
    assert sorted((node["user"] for node in found["aiInstanceUserMetrics"]["nodes"]), key=str) == [named, unknown]
    assert [row["user"] for row in found["aiInstanceUsage"]] == [named, unknown]
    assert found["node"] == {"webUrl": named["webUrl"], "lastDuoActivityOn": str(yesterday)}
    either.web_base_url = None
    found = ask(either, "{ aiUsageData { all { nodes { user { webUrl } } } } }")
    assert all(node["user"] == {"webUrl": None} for node in found["aiUsageData"]["all"]["nodes"])


def test_gitlabs_directive_on_fields_changes_nothing(either: GraphqlHandler, insert: Insert) -> None:
    insert()
    plain = "{ aiUsageData { all { nodes { event user { id } } count } } }"
    marked = """query ($version: String = "1") {
        aiUsageData @gl_introduced(version: "17.5.0") { all @gl_introduced(version: "17.6") {
            nodes @gl_introduced(version: "") { event @gl_introduced(version: $version) user { id } } count
        } }
    }"""
    assert ask(either, plain) == ask(either, marked)


def test_one_document_asks_for_the_group_and_the_project_at_a_path(
    either: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'acme/group')")
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'acme/app')")
    insert(path="27/28/", project=4)
    query = """query ($path: ID!) {
        project(fullPath: $path) { id aiMetrics { totalEventCount } }
        group(fullPath: $path) { id aiMetrics { totalEventCount } }
    }"""
    counted = {"aiMetrics": {"totalEventCount": 1}}
    assert ask(either, query, path="acme/app") == {
        "project": {"id": "gid://gitlab/Project/4"} | counted,
        "group": None,
    }
    assert ask(either, query, path="acme/group")["project"] is None
    assert ask(either, query, path="acme/group")["group"]["id"].startswith("gid://")


def test_users_with_a_seat_at_the_end_of_the_period_are_counted(either: GraphqlHandler, insert: Insert) -> None:
    assigned, removed = 1001, 1002
    insert(NOW - timedelta(days=40), assigned, 1, "1/", product="duo")
    insert(NOW - timedelta(days=3), assigned, 2, "1/", product="duo")
    insert(NOW - timedelta(days=1), removed, 1, "1/", product="duo")
    insert(NOW, CHAT, 5, "1/")
    query = """query ($end: Date) { aiInstanceMetrics(endDate: $end) { duoAssignedUsersCount duoUsedCount } }"""
    for days, expected in ((0, 1), (2, 2), (5, 1), (50, 0)):
        end = str((NOW - timedelta(days=days)).date())
        found = ask(either, query, end=end)["aiInstanceMetrics"]
        assert found == {"duoAssignedUsersCount": expected, "duoUsedCount": int(days == 0)}
