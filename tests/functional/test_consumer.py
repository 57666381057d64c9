import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.message.batch import KIND, Batch
from functions.ingest.message.origin import ATTRIBUTE
from functions.ingest.message.replay import KIND as REPLAY
from functions.ingest.pipeline import Consumer
from functions.ingest.postgres import events
from functions.shared.grant import Grant
from functions.shared.identifier import derived_id
from functions.shared.postgres import Database, TimeLimits
from functions.shared.timestamp import format_timestamp
from tests.support.accounts import Query
from tests.support.bad_events import BAD_EVENTS
from tests.support.clock import NOW
from tests.support.consuming import consume

YESTERDAY = NOW - timedelta(days=1)
OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
EVERYWHERE = Grant("1", ("events:write",), ("*",))
TENANT = Grant("5", ("events:write",), ("27/",))


def record(body: Any, message_id: str = "message", sent_at: datetime = NOW) -> dict[str, Any]:
    """Returns a message as SQS passes it to the function."""
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    milliseconds = int(sent_at.timestamp() * 1000)
    return {
        "messageId": message_id,
        "body": text,
        "attributes": {"SentTimestamp": str(milliseconds), "ApproximateReceiveCount": "1"},
    }


def from_api(events: list[Any], grant: Grant, request_id: str = "request") -> dict[str, Any]:
    """Returns a message as the API puts it on the queue."""
    raw = [msgspec.Raw(json.dumps(event).encode()) for event in events]
    return record(msgspec.json.encode(Batch(request_id, NOW, raw, grant=grant)))


def event(name: str = "request_duo_chat_response", **attributes: Any) -> dict[str, Any]:
    return {"event": name, "user_id": 1} | attributes


TROUBLESHOOTING = event(
    "troubleshoot_job",
    id=OWN_ID,
    timestamp=format_timestamp(YESTERDAY),
    user={"id": 1, "username": "root"},
    namespace={"path": "27/28/", "full_path": "gitlab-org/gitlab"},
    job={"id": 1, "project_id": 4, "pipeline": {"id": 1}},
)


def test_an_event_is_transformed_and_stored(consumer: ConsumerHandler, query: Query) -> None:
    assert consume(consumer, record(TROUBLESHOOTING)) == []
    assert query("SELECT id, timestamp, event, user_id, namespace_path, payload FROM ai_usage_events") == [
        {
            "id": UUID(OWN_ID),
            "timestamp": YESTERDAY,
            "event": 7,
            "user_id": 1,
            "namespace_path": "27/28/",
            "payload": {"job_id": 1, "project_id": 4, "pipeline_id": 1},
        }
    ]
    assert query("SELECT * FROM users") == [{"id": 1, "username": "root", "last_activity_on": YESTERDAY.date()}]
    assert query("SELECT * FROM namespaces") == [{"id": 28, "path": "27/28/", "full_path": "gitlab-org/gitlab"}]
    assert query("SELECT * FROM rejected_events") == []


@pytest.mark.parametrize(
    ("sent", "payload"),
    [
        (
            event(
                "code_suggestion_shown_in_ide",
                project_id=4,
                additional_properties={
                    "unique_tracking_id": "foo",
                    "timestamp": YESTERDAY.date().isoformat(),
                    "language": "ruby",
                    "suggestion_size": 18,
                },
            ),
            {"unique_tracking_id": "foo", "language": "ruby", "suggestion_size": 18},
        ),
        (event("code_suggestion_accepted_in_ide", suggestion_size="18", language=None), {"suggestion_size": 18}),
        (event("request_duo_chat_response", language="ruby"), {}),
        (
            event(
                "agent_platform_session_started",
                project_id="4",
                additional_properties={"value": 7, "label": "chat", "property": "web"},
            ),
            {"project_id": 4, "session_id": 7, "flow_type": "chat", "environment": "web"},
        ),
        (event("troubleshoot_job", job={"id": 1, "pipeline": None}), {"job_id": 1}),
    ],
)
def test_the_payload_is_what_the_definition_makes_of_the_context(
    sent: dict[str, Any], payload: dict[str, Any], consumer: ConsumerHandler, query: Query
) -> None:
    consume(consumer, record(sent))
    assert [row["payload"] for row in query("SELECT payload FROM ai_usage_events")] == [payload]


# What is no UTF-8 can't be in a queue.
BAD_TEXTS = [(bad, code) for bad, code in BAD_EVENTS if b"\xff" not in bad]


@pytest.mark.parametrize(("bad", "code"), BAD_TEXTS, ids=lambda value: str(value)[:60])
def test_a_bad_event_becomes_a_rejected_row_beside_the_good_ones(
    bad: bytes, code: str, consumer: ConsumerHandler, query: Query
) -> None:
    message = record(b"[%b]" % bad if bad == b"[]" else bad, "bad")
    for _ in range(2):
        assert consume(consumer, record(event(), "good"), message, record([event(), event()], "better")) == []
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 3}]
    (rejected,) = query("SELECT source, code, body, sender_grant, attempts, replayed_at FROM rejected_events")
    assert rejected.pop("body").startswith(bad.decode().rstrip("}"))
    assert rejected == {"source": "sqs", "code": code, "sender_grant": None, "attempts": 1, "replayed_at": None}


def test_a_rejected_event_without_an_id_keeps_its_assigned_id_and_time(consumer: ConsumerHandler, query: Query) -> None:
    mended = {"event": "request_duo_chat_response", "user_id": 1}
    sent = [
        mended | {"event": "unknown"},
        mended | {"user_id": 0, "id": None, "timestamp": "2026-11-20"},
        mended | {"user_id": 0, "id": OWN_ID},
        mended | {"user_id": 0, "id": str(derived_id(YESTERDAY, "", 0))},
        mended | {"user_id": 0, "additional_properties": {"timestamp": "2026-11-20"}},
        {},
    ]
    consume(consumer, record(sent))
    bodies = [json.loads(row["body"]) for row in query("SELECT body FROM rejected_events ORDER BY body")]
    assert len(bodies) == len(sent)
    received_at = format_timestamp(NOW.replace(microsecond=NOW.microsecond // 1000 * 1000))
    given = [(body.get("id"), body.get("timestamp")) for body in bodies]
    own = [derived_id(datetime.fromisoformat(received_at), "message", position) for position in range(len(sent))]
    assert sorted(given, key=str) == sorted(
        [
            (str(own[0]), received_at),
            (str(own[1]), "2026-11-20"),
            (OWN_ID, None),
            (sent[3]["id"], None),
            (str(own[4]), None),
            (str(own[5]), received_at),
        ],
        key=str,
    )


DEEP = "[" * 20_000 + "]" * 20_000
HEAD = '"received_at":"2026-11-20T00:00:00Z"'


def replay_head(rejected_id: object, head: str) -> str:
    """Returns the start of a message with a replayed event."""
    return f'{{"kind":"{REPLAY}","rejected_id":"{rejected_id}","attempts":1,{head}'


REPLAYED = replay_head(OWN_ID, HEAD)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (DEEP, "too_deep"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "too_deep"),
        (f'{{"event":"request_duo_chat_response","user":{DEEP}}}', "too_deep"),
        (f'{{"event":"request_duo_chat_response"}}\n{{"event":{DEEP}}}', "too_deep"),
        (f'{{"kind":"{KIND}","id":"x",{HEAD},"events":[{DEEP}]}}', "too_deep"),
        (f'{{"kind":"{KIND}","id":"x",{HEAD},"events":[],"other":{DEEP}}}', "too_deep"),
        (f'{REPLAYED},"body":"{{}}","other":{DEEP}}}', "too_deep"),
        (f'{REPLAYED},"body":{DEEP}}}', "too_deep"),
        (f'{REPLAYED},"body":"{DEEP}"}}', "too_deep"),
        (f'{REPLAYED},"body":"{DEEP}","grant":{{"sub":"1","scopes":[],"namespaces":[]}}}}', "too_deep"),
        (f'{{"Type":"Notification","MessageId":"x","Message":"{DEEP}"}}', "too_deep"),
        (f'{{"Type":"Notification","MessageId":"x","Message":{DEEP}}}', "too_deep"),
        (f'{{"detail-type":"x","id":"x","detail":{DEEP}}}', "too_deep"),
        (f'{{"specversion":"1.0","id":"x","source":"x","type":"x","data":{DEEP}}}', "too_deep"),
        (f'{{"specversion":{DEEP}}}', "too_deep"),
        (f'[{{"event":"x","a":"\\ud83d"}},{DEEP}]', "too_deep"),
    ],
    ids=range(16),
)
def test_a_message_that_nests_deep_is_rejected_and_not_tried_again(
    body: str, code: str, consumer: ConsumerHandler, query: Query
) -> None:
    good = json.dumps(event()).encode()
    assert consume(consumer, record(good, "good"), record(body.encode(), "deep")) == []
    assert code in [row["code"] for row in query("SELECT code FROM rejected_events")]
    assert query("SELECT count(*) FROM ai_usage_events WHERE user_id = 1") == [{"count": 1}]
    assert max(len(row["body"]) for row in query("SELECT body FROM rejected_events")) > 20_000


# The ends of what Python, UUIDv7 and PostgreSQL know, and what lies just beyond.
ODD_MOMENTS = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00+00:01",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
]


@pytest.mark.parametrize("sent_at", [None, 0, 1, 253402300799999])
@pytest.mark.parametrize("moment", ODD_MOMENTS)
def test_a_message_with_an_odd_time_is_consumed_and_not_tried_again(
    moment: str, sent_at: int | None, consumer: ConsumerHandler, query: Query
) -> None:
    head = f'"received_at":"{moment}"'
    bodies = [
        f'{{"kind":"{KIND}","id":"x",{head},"events":[{{"event":"unknown"}},{json.dumps(event())}]}}',
        *(
            replay_head(uuid4(), head) + f""","body":{json.dumps(json.dumps(body))}}}"""
            for body in (event(), event(id=OWN_ID), event(timestamp=moment), event("unknown"))
        ),
    ]
    records = [record(body.encode(), f"message {number}") for number, body in enumerate(bodies)]
    if sent_at is not None:
        for number, one in enumerate(records):
            one["messageAttributes"] = {ATTRIBUTE: {"stringValue": f"{sent_at} message {number}"}}
    assert consume(consumer, *records) == []
    assert query("SELECT count(*) >= 5 AS kept FROM rejected_events") == [{"kept": True}]


def test_the_same_message_delivered_again_is_stored_once(consumer: ConsumerHandler, query: Query) -> None:
    events = [event(number=number) for number in range(5)]
    for _ in range(3):
        consume(consumer, record(events), record(events[0], "other"))
    assert query("SELECT count(*), count(DISTINCT id) FROM ai_usage_events") == [{"count": 6}]


@pytest.mark.parametrize(
    "sendings",
    [
        [{"timestamp": format_timestamp(NOW)}, {"timestamp": format_timestamp(NOW)}],
        [{"timestamp": format_timestamp(NOW - timedelta(days=45))}, {}],
        [{}, {}],
        [{}, {"timestamp": format_timestamp(NOW)}, {}],
        [{"timestamp": format_timestamp(NOW)}, {}, {"timestamp": format_timestamp(NOW)}, {}, {}],
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_an_id_sent_again_is_stored_once(
    sendings: list[dict[str, Any]], together: bool, consumer: ConsumerHandler, query: Query
) -> None:
    records = [record(event(id=OWN_ID) | sending, f"message {number}") for number, sending in enumerate(sendings)] + [
        from_api([event(id=OWN_ID) | sendings[-1]], EVERYWHERE)
    ]
    for group in [records] if together else [[one] for one in records]:
        assert consume(consumer, *group) == []
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


def test_an_id_with_two_times_is_one_event_within_a_month_and_two_across_months(
    consumer: ConsumerHandler, query: Query
) -> None:
    first = (NOW.replace(day=1) - timedelta(days=20)).replace(day=10)
    for moment in (first, first + timedelta(days=1), first - timedelta(days=30)):
        consume(consumer, record(event(id=OWN_ID, timestamp=format_timestamp(moment))))
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]


def test_a_batch_with_a_duplicate_is_stored_but_for_the_duplicate(consumer: ConsumerHandler, query: Query) -> None:
    consume(consumer, record(event(id=OWN_ID, timestamp=format_timestamp(YESTERDAY))))
    events = [event(number=number) for number in range(2_000)]
    consume(consumer, record([*events, event(id=OWN_ID, timestamp=format_timestamp(YESTERDAY))], "other"))
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2_001}]


def test_concurrent_batches_of_the_same_events_neither_deadlock_nor_store_twice(
    consumer: ConsumerHandler, query: Query, database_url: str
) -> None:
    def events(turn: int) -> list[Any]:
        order = range(300) if turn % 2 else range(299, -1, -1)
        return [
            event(
                id=str(derived_id(NOW - timedelta(days=40 * (number % 2)), "", number)),
                timestamp=format_timestamp(NOW - timedelta(days=40 * (number % 2))),
                user={"id": number + 1, "username": f"user {number} {turn}"},
                user_id=None,
                namespace={"path": f"27/{number + 100}/", "full_path": f"group/{(number + turn) % 300}"},
                project={"id": number + 1, "full_path": f"group/{(number + turn) % 300}/project"},
            )
            for number in order
        ]

    def consume_repeatedly(turn: int) -> None:
        own = Consumer(Database(database_url, TimeLimits(30, 30)), consumer.consumer.registry, 3)
        try:
            for round_ in range(5):
                raw = [msgspec.Raw(json.dumps(one).encode()) for one in events(turn + round_)]
                own.consume([Batch(f"{turn} {round_}", NOW, raw)])
        finally:
            own.database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(consume_repeatedly, range(4)))
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 300}]
    assert query("SELECT count(*) FROM users") == [{"count": 300}]


def test_rows_of_users_and_namespaces_that_stay_the_same_are_not_rewritten(
    consumer: ConsumerHandler, query: Query
) -> None:
    versions = "SELECT xmin::text FROM users UNION ALL SELECT xmin::text FROM namespaces"
    consume(consumer, record(TROUBLESHOOTING))
    before = query(versions)
    consume(consumer, record(TROUBLESHOOTING | {"id": None}, "other"))
    assert query(versions) == before
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]


def test_an_event_whose_month_was_dropped_meanwhile_is_rejected_alone(consumer: ConsumerHandler, query: Query) -> None:
    months_ago = NOW - timedelta(days=125)
    waited = event(timestamp=format_timestamp(months_ago - timedelta(days=20)))
    assert consume(consumer, record([waited, event()], sent_at=months_ago), record(event(), "good")) == []
    assert query("SELECT code FROM rejected_events") == [{"code": "timestamp_out_of_range"}] * 2
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


def test_a_users_last_activity_only_moves_on(consumer: ConsumerHandler, query: Query) -> None:
    for day in (YESTERDAY, NOW - timedelta(days=9), NOW):
        consume(consumer, record(event(timestamp=format_timestamp(day)), str(day)))
    assert query("SELECT last_activity_on FROM users") == [{"last_activity_on": NOW.date()}]


def test_when_postgresql_is_away_every_message_is_reported_and_nothing_is_written(
    consumer: ConsumerHandler, query: Query, database_url: str
) -> None:
    consume(consumer, record(event()))
    name = database_url.rpartition("/")[2]
    with psycopg.connect(database_url.rpartition("/")[0] + "/postgres", autocommit=True) as administration:
        administration.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        administration.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        records = [record(event(), "first"), record(b"{", "second")]
        assert consume(consumer, *records) == ["first", "second"]
        administration.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert consume(consumer, *records) == []
    with psycopg.connect(database_url) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM ai_usage_events), (SELECT count(*) FROM rejected_events)"
        )
        assert counts.fetchone() == (2, 1)


def test_a_write_that_fails_halfway_leaves_nothing_and_is_made_up_for(
    consumer: ConsumerHandler, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise psycopg.OperationalError("the server closed the connection unexpectedly")

    records = [record([TROUBLESHOOTING, event("unknown")])]
    with monkeypatch.context() as patched:
        patched.setattr("functions.ingest.pipeline.write_rejected", fail)
        assert consume(consumer, *records) == ["message"]
    tables = ("ai_usage_events", "users", "namespaces", "rejected_events")
    assert [query(f"SELECT count(*) FROM {table}")[0]["count"] for table in tables] == [0, 0, 0, 0]
    consume(consumer, *records)
    assert [query(f"SELECT count(*) FROM {table}")[0]["count"] for table in tables] == [1, 1, 1, 1]


def test_the_namespace_is_the_explicit_one_else_the_projects_else_that_of_its_id(
    consumer: ConsumerHandler, query: Query
) -> None:
    consume(consumer, record(event(project_id=4, namespace_path="27/28/")))
    consume(
        consumer,
        record(
            [
                event("request_duo_chat_response", project_id=4, namespace_path="27/29/"),
                event("code_suggestion_shown_in_ide", project_id=5, namespace_id=28),
                event("code_suggestion_accepted_in_ide", namespace_id=29, project={"id": 6}),
                event("troubleshoot_job", job={"id": 1, "project_id": 4}),
                event("code_suggestion_rejected_in_ide", project={"id": 7, "namespace": {"path": "3/"}}),
                event("find_no_issues_duo_code_review_after_review", namespace_id=99),
            ],
            "other",
        ),
    )
    rows = query("SELECT event, namespace_path FROM ai_usage_events ORDER BY event, namespace_path")
    assert [(row["event"], row["namespace_path"]) for row in rows] == [
        (2, "27/28/"),
        (3, "27/29/"),
        (4, "3/"),
        (6, "27/28/"),
        (6, "27/29/"),
        (7, "27/29/"),
        (11, None),
    ]


FOREIGN = {"path": "3/4/", "full_path": "others/project"}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (event(project_id=4), "forbidden_namespace"),
        (event(namespace_id=4), "forbidden_namespace"),
        (event("troubleshoot_job", job={"id": 1, "project_id": 4}), "forbidden_namespace"),
        (event(project_id=5), None),
        (event(project_id=99), None),
        (event(), None),
    ],
)
def test_an_event_that_resolves_outside_its_senders_grant_is_rejected(
    sent: dict[str, Any], code: str | None, consumer: ConsumerHandler, query: Query
) -> None:
    consume(
        consumer,
        record([event(project_id=4, namespace=FOREIGN), event(project_id=5, namespace_path="27/28/")]),
    )
    consume(consumer, from_api([sent], TENANT))
    rejected = query("SELECT code, source, sender_grant FROM rejected_events")
    grant = {"sub": "5", "scopes": ["events:write"], "namespaces": ["27/"]}
    assert rejected == ([{"code": code, "source": "https", "sender_grant": grant}] if code else [])
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2 if code else 3}]


def test_what_can_not_be_stored_teaches_nothing_and_stops_nothing(consumer: ConsumerHandler, query: Query) -> None:
    odd = [
        event(namespace={"path": "27/28/", "full_path": "nul\0"}),
        event(project={"id": 4, "full_path": "nul\0"}),
        event(user={"id": 1, "username": "nul\0"}),
    ]
    for name, group in (("alone", odd), ("among others", [event(), *odd, event(namespace_id=29)])):
        assert consume(consumer, record(group, name)) == []
    assert query("SELECT code, count(*) FROM rejected_events GROUP BY code") == [{"code": "invalid_text", "count": 6}]
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]
    assert query("SELECT full_path FROM namespaces UNION ALL SELECT full_path FROM projects") == []


def test_bad_events_of_every_kind_are_rejected_among_good_ones_of_the_same_message(
    consumer: ConsumerHandler, query: Query
) -> None:
    bad = [(text, code) for text, code in BAD_TEXTS if code not in ("invalid_json", "too_deep")]
    good = [json.dumps(event(number=number)).encode() for number in range(300)]
    consume(consumer, record(b"[%b]" % b",".join([*good[:150], *(text for text, _ in bad), *good[150:]])))
    rejected = query("SELECT code FROM rejected_events")
    assert sorted(row["code"] for row in rejected) == sorted(code for _, code in bad)
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 300}]


@pytest.mark.parametrize("written", [0, 2])
def test_a_connection_that_breaks_while_rows_are_written_loses_and_repeats_nothing(
    written: int, consumer: ConsumerHandler, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume(consumer, record(event()))
    pack = events._packed
    slices = []

    def break_connection(rows: Any, sizes: Any) -> bytes:
        slices.append(rows)
        if len(slices) == written + 1:
            query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return pack(rows, sizes)

    monkeypatch.setattr(events, "_packed", break_connection)
    sent = [event(number=number) for number in range(350)]
    assert consume(consumer, record([*sent, event("unknown"), event(job=1)], "other")) == []
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 352}]
    assert query("SELECT count(*) FROM rejected_events") == [{"count": 1}]
