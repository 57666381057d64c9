"""`project(fullPath:)`, the filter `projectIds`, the dimension `PROJECT` and the field `projectId`."""

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.types.arguments import MAX_PROJECT_IDS
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.metrics_model import Event, Model
from tests.support.random_events import TODAY

FIGURES = "totalEventCount usersCount featuresCount codeSuggestions { shownCount shownLinesOfCode languages }"
PROJECT = f"""
    query ($path: ID!, $start: Date, $users: [ID!], $projects: [ID!], $after: String) {{
        project(fullPath: $path) {{
            path
            fullPath
            aiUsageData {{
                all(startDate: $start, userIds: $users, projectIds: $projects, first: 7, after: $after) {{
                    count
                    nodes {{ id projectId namespacePath }}
                    pageInfo {{ hasNextPage endCursor }}
                }}
                chatEvents(startDate: $start, userIds: $users, projectIds: $projects) {{ count }}
            }}
            aiMetrics(startDate: $start, userIds: $users, projectIds: $projects) {{ {FIGURES} }}
            aiUserMetrics(startDate: $start, userIds: $users, projectIds: $projects) {{
                count nodes {{ user {{ id }} totalEventCount }}
            }}
            aiUsage(
                startDate: $start, userIds: $users, projectIds: $projects, groupBy: [PROJECT, EVENT], first: 1000
            ) {{
                projectId event totalCount usersCount previousPeriodUsersCount
            }}
        }}
    }}
"""
START = (TODAY - timedelta(days=35)).isoformat()


@pytest.fixture
def directory(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO namespaces VALUES (27, '27/', 'acme'), (28, '27/28/', 'acme/team')")
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'acme/team/app'), (5, '27/', 'acme/tools')")
    connection.execute("INSERT INTO projects VALUES (%s, NULL, 'lost')", [2**63 - 1])


@pytest.mark.usefixtures("directory")
def test_a_project_answers_with_its_own_numbers_not_its_groups(either: GraphqlHandler, insert: Insert) -> None:
    own = {insert(path="27/28/", project=4) for _ in range(2)}
    for project in (5, 5, None, None, 6):
        insert(path="27/28/", project=project)
    found = ask(either, PROJECT, "27/", path="acme/team/app", start=START)["project"]
    assert (found["path"], found["fullPath"]) == ("27/28/", "acme/team/app")
    assert {node["id"] for node in found["aiUsageData"]["all"]["nodes"]} == own
    assert found["aiUsageData"]["all"]["count"] == found["aiUsageData"]["chatEvents"]["count"] == 2
    assert found["aiMetrics"]["totalEventCount"] == 2
    assert [node["totalEventCount"] for node in found["aiUserMetrics"]["nodes"]] == [2]
    assert [(row["projectId"], row["totalCount"]) for row in found["aiUsage"]] == [(4, 2)]


@pytest.mark.parametrize(
    ("path", "project", "namespace", "namespaces"),
    [
        ("acme/team/app", 4, "27/28/", ["27/28/"]),
        ("acme/team/app", 4, "27/28/", ["*"]),
        ("acme/tools", 5, "27/", ["27/"]),
        ("acme/tools", 5, "27/", ["27/28/5/", "27/", "3/"]),
        ("lost", 2**63 - 1, None, ["*"]),
    ],
)
@pytest.mark.parametrize("filters", [{}, {"users": ["1", "2"]}, {"projects": ["4", "5"]}], ids=str)
@pytest.mark.usefixtures("directory")
def test_a_projects_answers_are_of_its_events_in_its_namespace_and_below(
    path: str,
    project: int,
    namespace: str | None,
    namespaces: list[str],
    filters: dict[str, Any],
    either: GraphqlHandler,
    events: list[Event],
) -> None:
    model = Model(events, None if namespace is None else (namespace,), project)
    given: dict[str, Any] = {"startDate": START, "endDate": TODAY.isoformat()}
    given |= {"userIds": filters.get("users"), "projectIds": filters.get("projects")}
    found = ask(either, PROJECT, *namespaces, path=path, start=START, **filters)["project"]
    expected = model.selected(given)
    metrics = model.metrics(given)
    suggestions = metrics["codeSuggestions"]
    assert found["aiUsageData"]["all"]["count"] == len(expected)
    assert found["aiUsageData"]["chatEvents"]["count"] == metrics["chat"]["totalEventCount"]
    assert found["aiMetrics"] == {
        name: metrics[name] for name in ("totalEventCount", "usersCount", "featuresCount")
    } | {"codeSuggestions": {name: suggestions[name] for name in found["aiMetrics"]["codeSuggestions"]}}
    of_users = model.user_metrics(given, "TOTAL_EVENT_COUNT_DESC")
    assert found["aiUserMetrics"]["count"] == len(of_users)
    assert found["aiUserMetrics"]["nodes"] == [
        {"user": user["user"], "totalEventCount": user["totalEventCount"]} for user in of_users
    ]
    rows = model.usage(given, ["PROJECT", "EVENT"], [], [])
    assert found["aiUsage"] == [{name: row[name] for name in found["aiUsage"][0]} for row in rows]
    expected.sort(key=lambda event: event.timestamp)  # events of one moment stay in the order of their ids
    places = [(event.project, event.path) for event in expected]
    assert pages(either, namespaces, path=path, start=START, **filters) == places[::-1]


def pages(handler: GraphqlHandler, namespaces: list[str], **variables: Any) -> list[tuple[int, str | None]]:
    """Project and namespace of each event on all pages, which are in the order of time."""
    seen: list[tuple[int, str | None]] = []
    after = None
    while True:
        found = ask(handler, PROJECT, *namespaces, after=after, **variables)["project"]["aiUsageData"]["all"]
        seen += [(node["projectId"], node["namespacePath"]) for node in found["nodes"]]
        if not found["pageInfo"]["hasNextPage"]:
            return seen
        after = found["pageInfo"]["endCursor"]


EVERYWHERE = """
    query ($projects: [ID!]) {
        aiInstanceUsageData {
            all(projectIds: $projects) { count nodes { id projectId } }
            chatEvents(projectIds: $projects) { count }
        }
        aiInstanceMetrics(projectIds: $projects) { totalEventCount }
        aiInstanceUserMetrics(projectIds: $projects) { nodes { totalEventCount } }
        aiInstanceUsage(projectIds: $projects) { totalCount }
    }
"""


@pytest.mark.parametrize(
    ("project_ids", "found"),
    [
        (["4"], {4}),
        (["gid://gitlab/Project/4"], {4}),
        (["4", "5", "5", "6", "0099"], {4, 5}),
        ([str(number) for number in range(5, 200)], {5}),
        (None, {4, 5, None}),
        ([], set()),
        (["99"], set()),
    ],
    ids=["one", "global", "several", "many", "null", "none", "unknown"],
)
def test_events_of_some_projects_are_selected_wherever_those_of_users_are(
    project_ids: list[str] | None, found: set[int | None], either: GraphqlHandler, insert: Insert
) -> None:
    for project in (4, 5, None):
        insert(path="27/", project=project)
    insert(path="3/", project=4)
    answer = ask(either, EVERYWHERE, "27/", projects=project_ids)
    events = answer["aiInstanceUsageData"]
    assert {node["projectId"] for node in events["all"]["nodes"]} == found
    assert events["all"]["count"] == events["chatEvents"]["count"] == len(found)
    assert answer["aiInstanceMetrics"]["totalEventCount"] == len(found)
    assert [node["totalEventCount"] for node in answer["aiInstanceUserMetrics"]["nodes"]] == (
        [len(found)] if found else []
    )
    assert [row["totalCount"] for row in answer["aiInstanceUsage"]] == [len(found)]


@pytest.mark.parametrize(
    ("project_ids", "said"),
    [
        (["x"], "projectIds: 'x' is not a project's id."),
        (["0"], "projectIds: '0' is not a project's id."),
        (["9223372036854775808"], "is not a project's id."),
        (["gid://gitlab/User/4"], "projectIds: 'gid://gitlab/User/4' is not a project's id."),
        (["gid://gitlab/Project/"], "is not a project's id."),
        (["4"] * (MAX_PROJECT_IDS + 1), "projectIds takes at most 1,000 ids, not 1,001."),
    ],
    ids=["text", "zero", "large", "user", "empty", "many"],
)
def test_project_ids_that_can_not_be_used_are_named(project_ids: list[str], said: str, api: GraphqlHandler) -> None:
    query = f"{{ aiInstanceMetrics(projectIds: {json.dumps(project_ids)}) {{ usersCount }} }}"
    _, answer = request(api, {"query": query})
    (error,) = answer["errors"]
    assert error["message"].endswith(said)


def test_the_field_shows_the_events_project_and_the_payload_keeps_its_key(
    either: GraphqlHandler, insert: Insert
) -> None:
    insert(event=7, project=5, project_id=4)
    insert(NOW - timedelta(seconds=1), event=8, project_id="text")
    insert(NOW - timedelta(seconds=2), event=6, project=2**63 - 1)
    query = """{ aiInstanceUsageData { all { nodes {
        projectId payload(paths: ["project_id"])
        ... on TroubleshootJobEvent { again: projectId } ... on AgenticChatEvent { again: projectId }
    } } } }"""
    nodes = ask(either, query)["aiInstanceUsageData"]["all"]["nodes"]
    assert nodes == [
        {"projectId": 5, "payload": {"project_id": 4}, "again": 5},
        {"projectId": None, "payload": {"project_id": "text"}, "again": None},
        {"projectId": 2**63 - 1, "payload": {}},
    ]


def test_a_project_that_moves_is_read_where_it_lies_now(
    api: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'acme/team/app')")
    for path in ("27/28/", "3/"):
        insert(path=path, project=4)
    query = '{ project(fullPath: "acme/team/app") { path aiUsageData { all { nodes { namespacePath } } } } }'

    def seen(*namespaces: str) -> Any:
        project = ask(api, query, *namespaces)["project"]
        return project and [node["namespacePath"] for node in project["aiUsageData"]["all"]["nodes"]]

    assert (seen("27/"), seen("3/"), seen("*")) == (["27/28/"], None, ["27/28/"])
    connection.execute("UPDATE projects SET namespace_path = '3/'")
    assert (seen("27/"), seen("3/"), seen("*")) == (None, ["3/"], ["3/"])
