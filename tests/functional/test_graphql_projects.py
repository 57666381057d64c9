"""`project(fullPath:)`, the filter `projectIds`, the dimension `PROJECT` and the field `projectId`."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import Insert, ask
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
    given = {"startDate": START, "endDate": TODAY.isoformat()}
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
