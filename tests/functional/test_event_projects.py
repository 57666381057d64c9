"""Which project an event is stored with, in both stores."""

import json
from typing import Any

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


@pytest.mark.parametrize("project_id", [4, "4"])
def test_an_event_by_gitlabs_endpoint_keeps_its_project(project_id: Any, ways: WaysIn, query: Query) -> None:
    body = json.dumps({"event": "request_duo_chat_response", "project_id": project_id}).encode()
    assert ways.post(body, {"PRIVATE-TOKEN": token()}, TRACK_EVENT_PATH)[0] == 200
    ways.consume_waiting()
    assert projects(query) == {5: 4}
