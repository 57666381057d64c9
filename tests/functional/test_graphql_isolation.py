"""Answers to a token do not depend on events outside its namespaces."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query.aggregation import UserPosition
from functions.graphql.query.store import EventPosition
from functions.graphql.types.cursor import to_cursor, to_user_cursor
from tests.support.clock import NOW
from tests.support.graphql import ask, request
from tests.support.graphql_queries import Name, QueryMaker, ways

COUNT = 2_000 if os.environ.get("SOAK") else 150
GRANT = "27/28/"
ALLOWED = ("27/28/", "27/28/5/")
FORBIDDEN = ("27/29/", "27/281/", "27/", "27/3/", "28/", None)
TEXT, NUMBER = "forbidden", 770_077_007  # which nothing that is allowed has
SHARED_USER, ALLOWED_USER, FORBIDDEN_USER = 1, 2, NUMBER
ALLOWED_PROJECT = 1
DAYS = (0, 1, 3, 6, 8, 13, 30)  # ago: in the last seven, and in what comes before these
EVENTS = range(1, 23)
FORBIDDEN_ID = UUID(int=NUMBER)

_INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

_NAME = "INSERT INTO user_names (user_id, namespace_path, username, stated_at) VALUES (%s, %s, %s, %s)"

FITTING: dict[str, list[Any]] = {
    "fullPath": [
        *(*ALLOWED, "group/allowed", "group/allowed/project") * 2,
        *("27/29/", "27/", f"{TEXT}/path", f"{TEXT}/project", "group/unplaced"),
    ],
    "startDate": [(NOW - timedelta(days=days)).date().isoformat() for days in (3, 6, 14, 40)],
    "endDate": [(NOW - timedelta(days=days)).date().isoformat() for days in (0, 2)],
    "userIds": [["1", "2"], ["2"], [str(NUMBER)], ["1", str(NUMBER)]],
    "projectIds": [["1"], ["2", "1"], [str(NUMBER)], ["gid://gitlab/Project/1", str(NUMBER)]],
    "events": [[Name("TROUBLESHOOT_JOB"), Name("CODE_SUGGESTION_SHOWN_IN_IDE")], [Name("REQUEST_DUO_CHAT_RESPONSE")]],
    "path": ["project_id", "language", "suggestion_size", "job.id", "tags[0]", "secret"],
    **{operator: [1, "ruby", TEXT, NUMBER, "a"] for operator in ("eq", "ne", "gt", "gte", "lt", "lte")},
    **{key: [[1, NUMBER], ["ruby", TEXT]] for key in ("in", "notIn")},
    **{key: ["ruby", "r", "%", TEXT] for key in ("like", "startsWith", "contains")},
    "measures": [
        [{"name": "sum", "sum": "suggestion_size"}, {"name": "most", "max": "project_id"}],
        [{"name": "median", "quantile": 0.5, "of": "project_id"}, {"name": "kinds", "distinct": "language"}],
        [{"name": "some", "count": {"payload": [{"path": "language", "eq": TEXT}]}}],
        [{"name": "rate", "metric": "codeSuggestions.acceptanceRate"}],
    ],
    "having": [[{"name": "totalCount", "gt": 1}]],
    "orderByMeasures": [[{"name": "usersCount", "direction": Name("ASC")}]],
    "paths": [["project_id", "secret"], ["job.id", "tags[0]"], ["language"]],
    "payloadGroupBy": [["language"], ["project_id", "tags[0]"], ["secret"]],
    "orderBy": [[Name("USERS_COUNT_DESC")], [Name("PREVIOUS_PERIOD_USERS_COUNT_ASC"), Name("TOTAL_COUNT_DESC")]],
    "first": [1, 3, 100],
    "last": [1, 3, 100],
}
FORWARDS: dict[str, list[Any]] = {"last": [], "before": []}
BACKWARDS: dict[str, list[Any]] = {"first": [], "after": []}


def cursors() -> list[str | None]:
    """Returns page cursors of events and users, including those that the token may not read, and as often none."""
    moments = [NOW - timedelta(days=days) for days in (1, 3)]
    positions = [EventPosition(moment, identifier) for moment in moments for identifier in (FORBIDDEN_ID, UUID(int=5))]
    users = [UserPosition(count, user_id) for count in (44, 308) for user_id in (SHARED_USER, FORBIDDEN_USER)]
    found = [*map(to_cursor, positions), *(to_user_cursor("TOTAL_EVENT_COUNT_DESC", user) for user in users)]
    return [*found, *([None] * len(found))]


def queries(handler: GraphqlHandler) -> list[dict[str, Any]]:
    """Returns random valid queries."""
    made, all_ways, positions = [], ways(handler.schema), cursors()
    for number in range(COUNT):
        chance = Random(number)
        one_way = FORWARDS if chance.random() < 0.6 else BACKWARDS
        maker = QueryMaker(
            handler.schema, chance, fitting=FITTING | {"after": positions, "before": positions} | one_way
        )
        made.append(maker.any() if chance.random() < 0.6 else maker.along(chance.choice(all_ways)))
    return made


def store(connection: psycopg.Connection, path: str | None, user_id: int, *, forbidden: bool, first_id: int) -> None:
    """Stores an event of each kind on each of the days."""
    text, number = (TEXT, NUMBER) if forbidden else ("ruby", 1)
    payload: dict[str, Any] = dict.fromkeys(("project_id", "suggestion_size", "job_id", "session_id"), number)
    payload |= dict.fromkeys(("language", "ide_name", "flow_type"), text)
    payload |= {"job": {"id": number}, "tags": [text]} | ({"secret": text} if forbidden else {})
    rows = [
        (
            UUID(int=first_id + place),
            NOW - timedelta(days=days),
            event,
            user_id,
            path,
            (ALLOWED_PROJECT, number, None)[place % 3],  # an event may name a project that lies elsewhere
            json.dumps(payload),
        )
        for place, (days, event) in enumerate((days, event) for days in DAYS for event in EVENTS)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)


def name(connection: psycopg.Connection, user_id: int, path: str | None, username: str, at: datetime) -> None:
    """States the name of a user in a namespace."""
    connection.execute(_NAME, [user_id, path or "", username, at])


def store_allowed(connection: psycopg.Connection) -> None:
    for number, path in enumerate(ALLOWED):
        for user_id in (SHARED_USER, ALLOWED_USER):
            store(connection, path, user_id, forbidden=False, first_id=10_000 * (2 * number + user_id))
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root'), (2, 'reader')")
    name(connection, SHARED_USER, ALLOWED[0], "root", NOW - timedelta(days=9))
    name(connection, ALLOWED_USER, ALLOWED[1], "reader", NOW)
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'group/allowed')")
    connection.execute("INSERT INTO projects VALUES (%s, '27/28/', 'group/allowed/project')", [ALLOWED_PROJECT])


def store_forbidden(connection: psycopg.Connection) -> None:
    for number, path in enumerate(FORBIDDEN):
        for user_id in (SHARED_USER, FORBIDDEN_USER):
            first_id = FORBIDDEN_ID.int + 10_000 * (2 * number + (user_id == SHARED_USER))
            store(connection, path, user_id, forbidden=True, first_id=first_id)
    connection.execute("INSERT INTO users (id, username) VALUES (%s, %s)", [FORBIDDEN_USER, TEXT])
    for user_id in (SHARED_USER, ALLOWED_USER, FORBIDDEN_USER):
        for path in FORBIDDEN:
            name(connection, user_id, path, f"{TEXT} {path}", NOW)
    connection.execute("INSERT INTO namespaces VALUES (27, '27/', 'group'), (29, '27/29/', %s)", [f"{TEXT}/path"])
    connection.execute("INSERT INTO projects VALUES (%s, '27/29/', %s)", [NUMBER, f"{TEXT}/project"])
    connection.execute("INSERT INTO projects VALUES (2, NULL, 'group/unplaced')")


def test_no_answer_depends_on_what_the_token_may_not_see(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection
) -> None:
    store_allowed(connection)
    bring()
    asked = queries(api)
    without = [request(api, query, GRANT) for query in asked]
    store_forbidden(connection)
    bring()
    shown_to_all = 0
    for query, answer in zip(asked, without, strict=True):
        assert request(api, query, GRANT) == answer, query
        assert TEXT not in json.dumps(answer), query
        assert str(NUMBER) not in json.dumps(answer), query
        shown_to_all += request(api, query, "*") != answer
    assert shown_to_all > COUNT // 6  # so that there was something to be seen


def test_a_user_of_elsewhere_is_not_named_who_is_asked_for(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection
) -> None:
    store_allowed(connection)
    store_forbidden(connection)
    bring()
    query = """
        query ($users: [ID!]) {
            aiInstanceUsageData { all(userIds: $users) { count nodes { user { id username } } } }
            aiInstanceMetrics(userIds: $users) { totalEventCount usersCount }
            aiInstanceUserMetrics(userIds: $users) { count nodes { user { id username } } }
            aiInstanceUsage(userIds: $users, groupBy: USER) { user { id username } }
        }
    """
    for namespaces, count in (([GRANT], 0), (["*"], 1)):
        answer = ask(api, query, *namespaces, users=[str(FORBIDDEN_USER)])
        assert answer["aiInstanceMetrics"]["usersCount"] == answer["aiInstanceUserMetrics"]["count"] == count
        assert len(answer["aiInstanceUserMetrics"]["nodes"]) == len(answer["aiInstanceUsage"]) == count
        assert bool(answer["aiInstanceUsageData"]["all"]["nodes"]) is bool(count)
        assert (TEXT in json.dumps(answer)) is bool(count)


def test_a_name_is_shown_to_readers_of_a_namespace_in_which_it_was_stated(
    api: GraphqlHandler, connection: psycopg.Connection
) -> None:
    store_allowed(connection)
    store_forbidden(connection)
    query = "{ aiInstanceUserMetrics { nodes { user { id username } } } }"

    def names(*namespaces: str) -> dict[str, str | None]:
        nodes = ask(api, query, *namespaces)["aiInstanceUserMetrics"]["nodes"]
        return {node["user"]["id"]: node["user"]["username"] for node in nodes}

    connection.execute("UPDATE users SET username = 'newest' WHERE id = 1")
    assert names(GRANT) == {"1": "root", "2": "reader"}
    assert names("27/28/5/") == {"1": None, "2": "reader"}
    assert names(GRANT, "27/29/")["1"] == f"{TEXT} 27/29/"
    assert names("*")["1"] == "newest"
