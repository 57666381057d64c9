"""Which project an event is stored with, in both stores."""

import json
from typing import Any

import psycopg
import pytest

from functions.ingest.formats.gitlab import TRACK_EVENT_PATH
from functions.shared import clickhouse
from functions.sync.sync import Sync
from tests.support.accounts import Query
from tests.support.ways_in import WaysIn, token

CHAT = {"event": "request_duo_chat_response", "user_id": 1}
JOB = {"event": "troubleshoot_job", "user_id": 1}
SESSION = {"event": "agent_platform_session_started", "user_id": 1}
LARGEST = 2**63 - 1

# (what is sent, the project that the event is stored with)
SENT: list[tuple[dict[str, Any], int | None]] = [
    (CHAT, None),
    (CHAT | {"project_id": 4}, 4),
    (CHAT | {"project_id": "4"}, 4),
    (CHAT | {"project_id": 4.0}, 4),
    (CHAT | {"project_id": LARGEST}, LARGEST),
    (CHAT | {"project": {"id": 4, "full_path": "acme/app", "namespace": {"path": "27/"}}}, 4),
    (CHAT | {"project": {"id": "4"}, "project_id": 4}, 4),
    (CHAT | {"additional_properties": {"project_id": 4}}, None),  # of these only the time is a base attribute
    (SESSION | {"project_id": "4"}, 4),
    (SESSION | {"additional_properties": {"project_id": 4}}, 4),
    (JOB | {"job": {"id": 1, "project_id": 4}}, 4),
    (JOB | {"job": {"id": 1, "project_id": "4"}}, 4),
    (JOB | {"job": {"id": 1, "project_id": 4}, "project_id": 5}, 5),
    (JOB | {"job": {"id": 1, "project_id": 0}}, None),
    (JOB | {"job": {"id": 1, "project_id": -4}}, None),
    (JOB | {"job": {"id": 1, "project_id": LARGEST + 1}}, None),
    (JOB | {"job": {"id": 1}}, None),
]
NUMBERED = [(sent | {"user_id": number}, project) for number, (sent, project) in enumerate(SENT, 1)]
EXPECTED = {sent["user_id"]: project for sent, project in NUMBERED}


def projects(query: Query) -> dict[int, int | None]:
    return {row["user_id"]: row["project_id"] for row in query("SELECT user_id, project_id FROM ai_usage_events")}


def test_an_event_keeps_its_project_beside_events_without_one(
    ways: WaysIn, query: Query, database_url: str, clickhouse_url: str
) -> None:
    ways.consume(json.dumps([sent for sent, _ in NUMBERED]))
    assert projects(query) == EXPECTED
    Sync(database_url, clickhouse_url).run(60)
    with clickhouse.connect(clickhouse_url, 60) as client:
        rows = client.query("SELECT user_id, project_id FROM ai_usage_events FINAL").result_rows
    assert {user_id: project_id or None for user_id, project_id in rows} == EXPECTED


def test_a_limited_senders_event_keeps_the_project_that_it_names(ways: WaysIn, query: Query) -> None:
    status, _ = ways.post(json.dumps([sent for sent, _ in NUMBERED]).encode())
    assert status == 202
    ways.consume_waiting()
    assert projects(query) == EXPECTED
    assert query("SELECT * FROM projects") == []  # it says nothing of the project to others


@pytest.fixture
def directory(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO projects VALUES (4, '27/28/', 'acme/app'), (6, '3/', 'other/app'), (7, NULL, 'lost')"
    )


# (what the event says of its project, its project and namespace, for a sender whose token covers 27/)
BY_PATH: list[tuple[dict[str, Any], tuple[int | None, str | None]]] = [
    ({"project_id": 4}, (4, "27/28/")),
    ({"project_id": "4"}, (4, "27/28/")),
    ({"project_path": "acme/app"}, (4, "27/28/")),
    ({"project_path": "acme/app", "project_id": 9}, (9, None)),
    ({"project_path": "acme/app", "namespace_path": "27/29/"}, (4, "27/29/")),
    ({"project_path": "other/app"}, (None, None)),
    ({"project_path": "other/app", "namespace_path": "27/29/"}, (None, "27/29/")),
    ({"project_path": "lost"}, (None, None)),
    ({"project_path": "unknown"}, (None, None)),
    ({"project_path": ""}, (None, None)),
    ({"project_path": None}, (None, None)),
]


@pytest.mark.usefixtures("directory")
def test_a_project_is_found_by_full_path_where_the_sender_may_write(ways: WaysIn, query: Query) -> None:
    sent = [CHAT | {"user_id": number} | said for number, (said, _) in enumerate(BY_PATH, 1)]
    assert ways.post(json.dumps(sent).encode())[0] == 202
    ways.consume_waiting()
    rows = query("SELECT user_id, project_id, namespace_path FROM ai_usage_events ORDER BY user_id")
    assert [(row["project_id"], row["namespace_path"]) for row in rows] == [found for _, found in BY_PATH]
    assert query("SELECT * FROM facts") == query("SELECT * FROM rejected_events") == []


@pytest.mark.usefixtures("directory")
def test_the_queue_finds_every_project_by_full_path_and_states_nothing_by_it(ways: WaysIn, query: Query) -> None:
    sent = [
        CHAT | {"user_id": 1 + place, "project_path": path} for place, path in enumerate(("other/app", "lost", "no"))
    ]
    ways.consume(json.dumps(sent))
    assert projects(query) == {1: 6, 2: 7, 3: None}
    assert query("SELECT * FROM facts WHERE attribute = 'full_path'") == []


@pytest.mark.parametrize(
    "named",
    [{"project_path": 5}, {"project_path": "nul\0"}, {"project": {"id": 4, "full_path": "a"}, "project_path": "b"}],
)
def test_a_project_path_that_is_none_rejects_its_event(named: dict[str, Any], ways: WaysIn, query: Query) -> None:
    status, answer = ways.post(json.dumps([CHAT, CHAT | named]).encode())
    assert (status, answer["accepted"]) == (207, 1)
    assert answer["rejected"][0]["code"] in ("invalid_project", "invalid_text")


@pytest.mark.parametrize("named", [{"project_id": 4}, {"project_id": "4"}, {"project_path": "acme/app"}], ids=str)
@pytest.mark.usefixtures("directory")
def test_an_event_by_gitlabs_endpoint_keeps_its_project(named: dict[str, Any], ways: WaysIn, query: Query) -> None:
    body = json.dumps({"event": "request_duo_chat_response"} | named).encode()
    assert ways.post(body, {"PRIVATE-TOKEN": token()}, TRACK_EVENT_PATH)[0] == 200
    ways.consume_waiting()
    assert query("SELECT project_id, namespace_path FROM ai_usage_events") == [
        {"project_id": 4, "namespace_path": "27/28/"}
    ]
