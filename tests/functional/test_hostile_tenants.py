"""Two tenants that know each other's ids, paths and names: neither changes, hides or reads the other's events."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import boto3
import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.shared.timestamp import format_timestamp
from infra.operations import rejected_events
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.graphql import ask, request
from tests.support.ways_in import WaysIn, token

type Attack = Callable[[WaysIn], list[Any]]

VICTIM, ATTACKER = "27/", "99/"
SECRET = "known-to-the-victim-alone"
PROJECT, USER = 555, 4_711
IDS = [str(UUID(int=0x0198F0A2_6B1C_7000_8000_000000000000 + number)) for number in range(4)]
SOURCE = "https://ci.victim.example/jobs"
KEY = "order-1"
NAMES = {"id": USER, "username": f"{SECRET}@victim.example"}
PLACE = {"path": "27/28/", "full_path": f"{SECRET}-org"}

VIEW = """
    query ($fullPath: ID!) {
        group(fullPath: $fullPath) { path fullPath aiUsageData { all { count } } }
        project(fullPath: "victim-org/app") { ...Project }
        traversal: namespace(fullPath: "27/28/") { fullPath aiUsageData { all { count } } }
        aiInstanceUsageData {
            all(first: 200) { count nodes { id event timestamp user { id username } namespacePath payload } }
            chatEvents { nodes { id user { username } } }
        }
        aiInstanceMetrics { totalEventCount usersCount }
        aiInstanceUserMetrics { count nodes { totalEventCount user { id username } } }
        aiInstanceUsage(groupBy: [EVENT, USER], orderBy: [TOTAL_COUNT_DESC]) { event totalCount user { id username } }
        labelled: aiInstanceUsage(projectIds: ["555"], groupBy: [PROJECT]) { projectId totalCount }
    }
"""
PROJECT_VIEW = """
    fragment Project on Namespace {
        path fullPath
        aiUsageData { all { count nodes { id projectId namespacePath } } }
        aiMetrics { totalEventCount usersCount }
        aiUsage(groupBy: [USER]) { totalCount user { id } }
    }
"""


def event(**attributes: Any) -> dict[str, Any]:
    own = {"event": "troubleshoot_job", "user_id": USER, "timestamp": format_timestamp(NOW), "namespace_path": "27/28/"}
    return own | {"job": {"id": 1, "project_id": PROJECT, "pipeline": {"id": 9}}} | attributes


def cloud_event(namespace: str, **attributes: Any) -> dict[str, Any]:
    own = {"specversion": "1.0", "type": "request_duo_chat_response", "source": SOURCE, "id": "build-4711"}
    return own | {"subject": str(USER), "data": {"namespace_path": namespace}} | attributes


def victim_sends(ways: WaysIn) -> list[Any]:
    """Sends the victim's events over HTTPS, then a trusted producer's on the queue."""
    headers = {"Authorization": f"Bearer {token(sub='1', namespaces=[VICTIM])}"}
    answers = [
        ways.post(json.dumps([event(id=identifier) for identifier in IDS]).encode(), headers),
        ways.post(json.dumps(cloud_event("27/28/")).encode(), headers),
        ways.post(json.dumps(event(event="request_duo_chat_response")).encode(), headers | {"Idempotency-Key": KEY}),
    ]
    ways.consume_waiting()
    named = event(user=NAMES, user_id=None, namespace=PLACE, namespace_path=None)
    trusted = [
        named | {"project": {"id": PROJECT, "full_path": "victim-org/app"}, "id": IDS[0][:-1] + "9"},
        event(event="request_duo_chat_response", project_id=PROJECT, namespace_path=None, job=None),
    ]
    ways.consume(json.dumps(trusted), message_id="trusted")
    return answers


def attacker_posts(*events: Any, headers: dict[str, str] | None = None, **claims: Any) -> Attack:
    def attack(ways: WaysIn) -> list[Any]:
        own = {"sub": "2", "namespaces": [ATTACKER]} | claims
        body = json.dumps(list(events)).encode()
        answer = ways.post(body, {"Authorization": f"Bearer {token(**own)}"} | (headers or {}))
        if ways.waiting:
            ways.consume_waiting()
        return [answer]

    return attack


def own(**attributes: Any) -> dict[str, Any]:
    return event(namespace_path="99/1/", job=None) | attributes


MESSAGE = {"kind": "ai_usage_events.batch", "id": "1", "received_at": format_timestamp(NOW), "events": [event()]}
REPLAY = {"kind": "ai_usage_events.replay", "rejected_id": IDS[0], "attempts": 1, "received_at": format_timestamp(NOW)}

ATTACKS: dict[str, Attack] = {
    "the same ids": attacker_posts(*(own(id=identifier, event="request_duo_chat_response") for identifier in IDS)),
    "the same ids and events": attacker_posts(*(own(id=identifier) for identifier in IDS)),
    "the same ids by a token of one user": attacker_posts(
        *(own(id=identifier, user_id=2) for identifier in IDS), scope="events:write:own"
    ),
    "the same CloudEvent": attacker_posts(cloud_event("99/1/"), cloud_event("99/1/", type="troubleshoot_job")),
    "the same Idempotency-Key": attacker_posts(
        event(event="request_duo_chat_response"), own(), headers={"Idempotency-Key": KEY}
    ),
    "a claim to the project": attacker_posts(
        own(project={"id": PROJECT, "full_path": "victim-org/app", "namespace": {"path": "99/1/"}}),
        own(namespace_path=None, project={"id": PROJECT, "namespace": {"path": "99/1/"}}),
        own(project_id=PROJECT),
        own(project_path="victim-org/app"),
        own(project_path="victim-org/app", namespace_path=None),
    ),
    "a claim to the full path": attacker_posts(own(namespace={"path": "99/1/", "full_path": PLACE["full_path"]})),
    "a claim with directory:write": attacker_posts(
        own(project={"id": PROJECT, "full_path": "victim-org/app", "namespace": {"path": "99/1/"}}),
        own(user={"id": USER, "username": "renamed"}, namespace={"path": "99/1/", "full_path": PLACE["full_path"]}),
        scope="events:write directory:write",
    ),
    "other names of the users": attacker_posts(
        *(own(user={"id": user, "username": "renamed"}, user_id=None) for user in (USER, 1, 2))
    ),
    "the users of the victim": attacker_posts(*(own(user_id=user) for user in range(USER - 30, USER + 30))),
    "the namespace of the victim": attacker_posts(
        event(), event(namespace_path="27/"), own(namespace_path=None, namespace_id=28), own(namespace_path="99/27/28/")
    ),
    "the project of the victim": attacker_posts(
        own(namespace_path=None, project_id=PROJECT), own(namespace_path=None, job={"project_id": PROJECT})
    ),
    "messages as the API sends them": attacker_posts(
        MESSAGE, MESSAGE | {"event": "troubleshoot_job"}, own(detail={}, Message=json.dumps(MESSAGE)), REPLAY
    ),
    "no namespace": attacker_posts(own(namespace_path=None), own(namespace_path=None, user={"id": USER})),
}


def view(api: GraphqlHandler, *namespaces: str) -> Any:
    return ask(api, VIEW + PROJECT_VIEW, *namespaces, fullPath=PLACE["full_path"])


def project_as_seen_by_all(api: GraphqlHandler) -> Any:
    """The victim's project, as a token for everything sees it."""
    return ask(api, '{ project(fullPath: "victim-org/app") { ...Project } }' + PROJECT_VIEW)["project"]


@pytest.fixture
def replay(connection: psycopg.Connection, queues: Any, ways: WaysIn) -> Callable[[], None]:
    """Replays all rejected events."""

    def replay() -> None:
        rejected_events.replay(connection, boto3.client("sqs"), queues.url, rejected_events.find(connection))
        for message in queues.records():
            ways.consume(message["body"], message_id=message["messageId"])

    return replay


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_hostile_tenant_neither_changes_nor_hides_nor_learns_anything_of_another(
    attack: Attack,
    either: GraphqlHandler,
    ways: WaysIn,
    replay: Callable[[], None],
    query: Query,
) -> None:
    answers = attack(ways)  # before the victim comes, and afterwards
    sent = victim_sends(ways)
    assert [status for status, _ in sent] == [202] * 3
    known = view(either, VICTIM)
    assert known["aiInstanceMetrics"]["totalEventCount"] == len(IDS) + 4
    assert {node["user"]["username"] for node in known["aiInstanceUsageData"]["all"]["nodes"]} == {NAMES["username"]}
    assert known["group"]["path"] == "27/28/"
    assert known["project"]["path"] == "27/28/"
    assert known["project"]["aiMetrics"]["totalEventCount"] == len(IDS) + 2  # all but the two chat events by HTTPS
    assert project_as_seen_by_all(either) == known["project"]
    ids = {identifier for _, answer in sent for identifier in answer["ids"]}
    assert ids < {node["id"] for node in known["aiInstanceUsageData"]["all"]["nodes"]}
    answers += attack(ways)
    replay()
    assert view(either, VICTIM) == known
    assert project_as_seen_by_all(either) == known["project"]
    learned = json.dumps([view(either, ATTACKER), answers])
    assert SECRET not in learned
    assert not any(identifier in learned for identifier in ids)
    assert victim_sends(ways) == sent  # delivered again, it is the same
    assert view(either, VICTIM) == known
    owners = query("SELECT DISTINCT namespace_path, user_id FROM ai_usage_events WHERE namespace_path LIKE '27/%%'")
    assert owners == [{"namespace_path": "27/28/", "user_id": USER}]


ASKED = (
    "{ namespace(fullPath: %r) { path } }",
    "{ aiInstanceUsageData { all(after: %r) { nodes { id } } } }",
    "{ aiInstanceUsageData { all(userIds: [%r]) { nodes { id user { username } } } } }",
    "{ aiInstanceUsageData { all(payload: [{path: %r, eq: 1}]) { nodes { payload } } } }",
    "{ aiInstanceUsage(payloadGroupBy: [%r]) { payload totalCount } }",
)
NAMED = ("27/28/", PLACE["full_path"], "victim-org/app", str(USER), str(PROJECT), IDS[0])


def test_no_error_or_answer_reveals_whether_another_tenants_data_exists(either: GraphqlHandler, ways: WaysIn) -> None:
    questions = [asked.replace("%r", json.dumps(named)) for asked in ASKED for named in NAMED]
    before = [request(either, {"query": question}, ATTACKER) for question in questions]
    victim_sends(ways)
    for question, answer in zip(questions, before, strict=True):
        assert request(either, {"query": question}, ATTACKER) == answer, question
