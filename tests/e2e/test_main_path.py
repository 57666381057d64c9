"""Events through the deployed stack: in over HTTPS or the queue, out through PostgreSQL and GraphQL."""

import json
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from functions.shared.catalog import registry
from functions.shared.timestamp import format_timestamp
from infra.local import postgres
from infra.operations.token import sign
from tests.e2e.conftest import Stack
from tests.e2e.faults import visibility_timeout
from tests.e2e.use import (
    STORED_WITHIN_SECONDS,
    consumer_log,
    eventually,
    graphql,
    post,
    publish,
    publish_bad,
    rejected_codes,
    rows,
)
from tests.support import plain_http
from tests.support.bad_events import BAD_EVENTS

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
CHAT = {"event": "request_duo_chat_response", "user_id": 1}
STORED_AFTER_AN_OUTAGE_WITHIN_SECONDS = 300
DELIVERED_AGAIN_AFTER_SECONDS = 90 if os.environ.get("SOAK") else 8  # 90 as deployed


ALL_OF_USER = """
    query ($user: ID!) {
        aiInstanceUsageData {
            all(userIds: [$user], first: 1000) {
                nodes { id timestamp event user { id username } namespacePath payload }
            }
        }
    }
"""


def nodes(stack: Stack, user_id: int, token: str | None = None) -> list[Any]:
    answer = graphql(stack, ALL_OF_USER, token, user=str(user_id))
    return list(answer["aiInstanceUsageData"]["all"]["nodes"])


def test_an_event_by_https_is_read_back_through_graphql(stack: Stack, user_id: int) -> None:
    sent = {
        "event": "troubleshoot_job",
        "timestamp": format_timestamp(YESTERDAY),
        "user": {"id": user_id, "username": f"user-{user_id}"},
        "namespace": {"path": "27/28/", "full_path": "gitlab-org/gitlab"},
        "job": {"id": 1, "project_id": 4, "pipeline": {"id": 1}},
    }
    answer = post(stack, sent)
    assert answer.status_code == 202
    (event_id,) = answer.json()["ids"]
    expected = {
        "id": event_id,
        "timestamp": sent["timestamp"],
        "event": "TROUBLESHOOT_JOB",
        "user": {"id": str(user_id), "username": f"user-{user_id}"},
        "namespacePath": "27/28/",
        "payload": {"job_id": 1, "project_id": 4, "pipeline_id": 1},
    }
    eventually(lambda: nodes(stack, user_id), [expected])
    of_namespace = """
        query ($user: ID!) {
            namespace(fullPath: "gitlab-org/gitlab") {
                path
                fullPath
                aiUsageData { all(userIds: [$user], events: [TROUBLESHOOT_JOB]) { nodes { id } } }
            }
        }
    """
    assert graphql(stack, of_namespace, user=str(user_id))["namespace"] == {
        "path": "27/28/",
        "fullPath": "gitlab-org/gitlab",
        "aiUsageData": {"all": {"nodes": [{"id": event_id}]}},
    }


def test_every_shipped_event_is_stored_by_both_ways(stack: Stack, user_id: int) -> None:
    names = [event.name for event in registry.load().events.values() if not event.deprecated]
    events = [{"event": name, "user_id": user_id, "job": {"id": 1}} for name in names]
    assert post(stack, events).status_code == 202
    publish(stack, events)
    wanted = sorted(name.upper() for name in names for _ in range(2))
    eventually(lambda: sorted(node["event"] for node in nodes(stack, user_id)), wanted)


def test_an_internal_event_is_stored_with_exactly_its_values(stack: Stack, user_id: int) -> None:
    sent = {
        "event": "code_suggestion_shown_in_ide",
        "user_id": user_id,
        "project_id": user_id,
        "additional_properties": {
            "unique_tracking_id": "foo",
            "timestamp": YESTERDAY.date().isoformat(),
            "language": "ruby",
            "suggestion_size": 18,
        },
    }
    assert post(stack, sent).status_code == 202
    eventually(
        lambda: rows(
            stack,
            "SELECT timestamp, event, user_id, namespace_path, payload FROM ai_usage_events WHERE user_id = %s",
            user_id,
        ),
        [
            (
                datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, tzinfo=UTC),
                2,
                user_id,
                None,
                {"unique_tracking_id": "foo", "language": "ruby", "suggestion_size": 18},
            )
        ],
    )


def test_an_event_of_a_new_definition_file_needs_nothing_else(stack: Stack, user_id: int) -> None:
    assert post(stack, {"event": "search_answered", "user_id": user_id, "results": "3"}).status_code == 202
    eventually(
        lambda: [(node["event"], node["payload"]) for node in nodes(stack, user_id)],
        [("SEARCH_ANSWERED", {"results": 3, "found": True})],
    )
    values = graphql(stack, '{ __type(name: "AiUsageEventType") { enumValues { name } } }')["__type"]["enumValues"]
    assert {"name": "SEARCH_ANSWERED"} in values


def test_the_same_id_sent_five_times_is_one_row(stack: Stack, user_id: int) -> None:
    event = CHAT | {"user_id": user_id, "id": str(uuid4())}
    with_time = event | {"timestamp": format_timestamp(datetime.now(UTC))}
    assert post(stack, event).json()["ids"] == [event["id"]]
    publish(stack, with_time, [event])
    assert post(stack, [with_time]).status_code == 202
    publish(stack, event, CHAT | {"user_id": user_id})
    eventually(
        lambda: rows(stack, "SELECT count(*), count(DISTINCT id) FROM ai_usage_events WHERE user_id = %s", user_id),
        [(2, 2)],
    )


def test_bad_events_are_answered_by_https_and_the_good_ones_beside_them_stored(stack: Stack, user_id: int) -> None:
    bad = [(event, code) for event, code in BAD_EVENTS if code not in ("invalid_json", "too_deep")]
    bad = [(event, code) for event, code in bad if b'"user_id": null' not in event]  # the token's user stands in
    good = CHAT | {"user_id": user_id}
    body = b"[" + b",".join([json.dumps(good).encode(), *(event for event, _ in bad), json.dumps(good).encode()]) + b"]"
    response = post(stack, body)
    answer = response.json()
    assert (response.status_code, answer["accepted"]) == (207, 2)
    assert [(rejected["index"], rejected["code"]) for rejected in answer["rejected"]] == [
        (index, code) for index, (_, code) in enumerate(bad, 1)
    ]
    assert post(stack, b'{"event": "request_duo').status_code == 400
    eventually(lambda: len(nodes(stack, user_id)), 2)


def test_bad_events_on_the_queue_are_rejected_and_good_ones_are_stored(stack: Stack, user_id: int) -> None:
    # What is no UTF-8 can't be on the queue, nor can an empty array be one bad event.
    bad = [(event, code) for event, code in BAD_EVENTS if b"\xff" not in event and event != b"[]"]
    ids = publish_bad(stack, *(event for event, _ in bad))
    publish(stack, [CHAT | {"user_id": user_id}])
    wanted = {identifier: code for identifier, (_, code) in zip(ids, bad, strict=True)}
    eventually(lambda: rejected_codes(stack, ids), wanted)
    eventually(lambda: len(nodes(stack, user_id)), 1)


def test_what_only_the_payload_shows_is_accepted_and_then_rejected_by_either_way(stack: Stack, user_id: int) -> None:
    suggestion = {"event": "code_suggestion_shown_in_ide", "user_id": user_id}
    bad = {
        "payload_too_large": suggestion | {"branch_name": "x" * 20_000},
        "invalid_payload": suggestion | {"suggestion_size": "many"},
        "transformation_failed": {"event": "troubleshoot_job", "user_id": user_id, "job": 1},
    }
    answer = post(stack, [*bad.values(), suggestion])
    assert (answer.status_code, answer.json()["accepted"]) == (202, 4)
    publish(stack, [*bad.values(), suggestion])
    find = "SELECT code, source FROM rejected_events WHERE body LIKE %s ORDER BY code, source"
    wanted = [(code, source) for code in sorted(bad) for source in ("https", "sqs")]
    eventually(lambda: rows(stack, find, f'%"user_id": {user_id}%'), wanted)
    eventually(lambda: len(nodes(stack, user_id)), 2)


def test_access_fails_closed(stack: Stack, user_id: int) -> None:
    def token(scope: str, *namespaces: str) -> str:
        return sign(stack.auth_secret, str(user_id), [scope], namespaces, timedelta(minutes=5))

    query = {"query": "{ aiInstanceUsageData { all { nodes { id } } } }"}
    for path, body in (("v1/events", CHAT), ("graphql", query)):
        url = f"{stack.api_url}/{path}"
        wrong = token("events:read" if path == "v1/events" else "events:write", "*")
        for given, status in (("", 401), ("Bearer x", 401), (f"Bearer {wrong}", 403)):
            headers = {"Authorization": given} if given else {}
            assert plain_http.post(url, json=body, headers=headers, timeout=60).status_code == status

    events = [
        CHAT | {"user_id": user_id, "namespace_path": path, "project_id": project}
        for path, project in (("27/28/", user_id), ("27/281/", user_id + 1), (None, None))
    ]
    assert post(stack, events).status_code == 202
    eventually(lambda: len(nodes(stack, user_id)), 3)
    assert [node["namespacePath"] for node in nodes(stack, user_id, token("events:read", "27/28/"))] == ["27/28/"]
    assert nodes(stack, user_id, token("events:read")) == []
    query_of = (
        'query { inside: namespace(fullPath: "27/28/") { path } outside: namespace(fullPath: "27/281/") { path } }'
    )
    answer = graphql(stack, query_of, token("events:read", "27/28/"))
    assert answer == {"inside": {"path": "27/28/"}, "outside": None}

    own = token("events:write:own", "27/28/")
    forbidden = [
        CHAT | {"user_id": 1},
        CHAT | {"user_id": user_id, "namespace_path": "27/281/"},
        CHAT | {"user_id": user_id, "project_id": user_id + 1, "mark": user_id},
    ]
    answer = post(stack, forbidden, own).json()
    assert [rejected["code"] for rejected in answer["rejected"]] == ["forbidden_user", "forbidden_namespace"]
    find = "SELECT code, source FROM rejected_events WHERE body LIKE %s"
    eventually(lambda: rows(stack, find, f'%"mark": {user_id}%'), [("forbidden_namespace", "https")])


def test_many_events_in_requests_of_five_hundred_are_stored_once(stack: Stack, user_id: int) -> None:
    count = 100_000 if os.environ.get("SOAK") else 5_000
    start = datetime.now(UTC) - timedelta(days=2)
    sizes = [random.randrange(1, 500) for _ in range(count)]
    for first in range(0, count, 500):
        request = [
            {
                "event": "code_suggestion_shown_in_ide",
                "user_id": user_id,
                "timestamp": format_timestamp(start + timedelta(seconds=first + index)),
                "additional_properties": {"suggestion_size": size, "language": "python"},
            }
            for index, size in enumerate(sizes[first : first + 500])
        ]
        assert post(stack, request).json()["accepted"] == len(request)
    eventually(
        lambda: rows(
            stack,
            "SELECT count(*), sum((payload ->> 'suggestion_size')::int) FROM ai_usage_events WHERE user_id = %s",
            user_id,
        ),
        [(count, sum(sizes))],
        STORED_WITHIN_SECONDS + count / 500,
    )


def test_ten_thousand_events_and_five_megabytes_fit_in_one_request(stack: Stack, user_id: int) -> None:
    events = [CHAT | {"user_id": user_id, "filler": "x" * 430} for _ in range(10_000)]
    body = json.dumps(events).encode()
    assert len(body) > 4_900_000
    response = post(stack, body)
    assert (response.status_code, response.json()["accepted"]) == (202, 10_000)
    eventually(lambda: rows(stack, "SELECT count(*) FROM ai_usage_events WHERE user_id = %s", user_id), [(10_000,)])


def test_events_sent_while_postgresql_is_stopped_are_stored_once_it_is_back(stack: Stack, user_id: int) -> None:
    event = CHAT | {"user_id": user_id}
    assert post(stack, event).status_code == 202
    eventually(lambda: len(nodes(stack, user_id)), 1)
    said = len(consumer_log(stack))
    with visibility_timeout(stack, DELIVERED_AGAIN_AFTER_SECONDS):
        postgres.stop(stack.postgres_data)
        try:
            for _ in range(5):
                assert post(stack, [event] * 4).status_code == 202
            publish(stack, event)
            ids = publish_bad(stack, b"{")
            eventually(lambda: "WARNING" in {line["level"] for line in consumer_log(stack)[said:]}, wanted=True)
        finally:
            postgres.start(stack.postgres_data, stack.postgres_log)
        eventually(lambda: len(nodes(stack, user_id)), 22, STORED_AFTER_AN_OUTAGE_WITHIN_SECONDS)
        wanted = dict.fromkeys(ids, "invalid_json")
        eventually(lambda: rejected_codes(stack, ids), wanted, STORED_AFTER_AN_OUTAGE_WITHIN_SECONDS)
