import base64
import json
import socket
import time
from collections.abc import Callable
from copy import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import boto3
import jwt
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from functions.ingest.api_handler import PATIENCE, IngestHandler, build
from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.formats.body import JSON_TYPES, LINE_TYPES
from functions.ingest.message.batch import Batch, read_batch
from functions.shared import queue
from functions.shared.auth import Authenticator
from functions.shared.grant import Grant
from functions.shared.identifier import IdSpace
from functions.shared.settings import AuthSettings
from infra.local import ports
from tests.support.bad_events import BAD_EVENTS

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SECRET = "a secret of thirty-two characters, at least"
RETENTION_MONTHS = 3
CHAT = {"event": "request_duo_chat_response", "user_id": 1}
GATEWAY_SECONDS = 29
KEYS_SECONDS = 5  # for the issuer's keys, which may be asked for twice
OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
STORED_ID = str(IdSpace(("namespaces", "27/")).stored_id(UUID(OWN_ID)))


@pytest.fixture
def sqs(aws: None) -> "SQSClient":
    """A client of an account with one queue."""
    client = boto3.client("sqs")
    client.create_queue(QueueName="events")
    return client


@pytest.fixture
def api(sqs: "SQSClient") -> IngestHandler:
    return build(
        auth=AuthSettings(secret=SECRET),
        queue_url=sqs.list_queues(QueueNamePrefix="events")["QueueUrls"][0],
        retention_months=RETENTION_MONTHS,
    )


def post(api: IngestHandler, body: Any, scope: str = "events:write", **request: Any) -> tuple[int, Any]:
    claims = {"sub": "5", "scope": scope, "namespaces": ["27/"], "exp": time.time() + 60}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}", "Content-Type": "application/json"}
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    answer = api({"headers": headers, "body": text, "isBase64Encoded": False} | request, None)
    assert answer["headers"].pop("X-Request-Id")
    challenge = {"WWW-Authenticate": answer["headers"].get("WWW-Authenticate")} if answer["statusCode"] == 401 else {}
    assert answer["headers"] == {"Content-Type": "application/json"} | challenge
    return answer["statusCode"], json.loads(answer["body"])


def queued(sqs: "SQSClient") -> list[Batch]:
    """Returns the messages on the queue in the order of sending."""
    batches = []
    url = sqs.list_queues()["QueueUrls"][0]
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            assert len(message["Body"].encode()) <= 256 * 1024
            batches.append(read_batch(message["Body"].encode(), message["MessageId"], datetime.now(UTC)))
    return sorted(batches, key=lambda batch: batch.first)


def test_an_accepted_event_is_queued_as_it_came_with_its_senders_grant(api: IngestHandler, sqs: "SQSClient") -> None:
    status, answer = post(api, CHAT)
    (batch,) = queued(sqs)
    assert (status, answer) == (202, {"accepted": 1, "ignored": 0, "rejected": [], "ids": [str(batch.event_id(0))]})
    assert [json.loads(bytes(event)) for event in batch.events] == [CHAT]
    assert batch.grant == Grant("5", ("events:write",), ("27/",))


def test_each_event_of_a_request_is_judged_on_its_own(api: IngestHandler, sqs: "SQSClient") -> None:
    ignored = {"event": "elsewhere", "additional_properties": {}}
    status, answer = post(api, [CHAT, {"event": "unknown"}, ignored, CHAT | {"id": OWN_ID}, 5])
    (batch,) = queued(sqs)
    assert (status, answer["accepted"], answer["ignored"]) == (207, 2, 1)
    assert answer["ids"] == [str(batch.event_id(0)), None, None, STORED_ID, None]
    assert [(rejected["index"], rejected["code"], rejected["retryable"]) for rejected in answer["rejected"]] == [
        (1, "unknown_event", False),
        (4, "not_an_object", False),
    ]
    assert [json.loads(bytes(event)) for event in batch.events] == [CHAT, CHAT | {"id": OWN_ID}]


@pytest.mark.parametrize(("event", "code"), BAD_EVENTS, ids=lambda value: str(value)[:60])
def test_a_bad_event_does_not_harm_the_good_ones_beside_it(
    event: bytes, code: str, api: IngestHandler, sqs: "SQSClient"
) -> None:
    good = json.dumps(CHAT).encode()
    body = base64.b64encode(b"[%b, %b, %b]" % (good, event, good)).decode()
    status, answer = post(api, body, isBase64Encoded=True)
    if status == 400:  # the request as a whole is not JSON
        assert code in ("invalid_json", "too_deep")
        assert queued(sqs) == []
        return
    assert sum(len(batch.events) for batch in queued(sqs)) == answer["accepted"]
    if code == "invalid_user" and b'"user_id": null' in event:  # the token's user stands in
        assert (status, answer["accepted"]) == (202, 3)
    else:
        assert (status, answer["accepted"]) == (207, 2)
        assert [(rejected["index"], rejected["code"]) for rejected in answer["rejected"]] == [(1, code)]


@pytest.mark.parametrize(
    ("body", "request_with", "status", "said"),
    [
        ("{", {}, 400, "not JSON"),
        ("", {}, 400, "not JSON"),
        ("!", {"isBase64Encoded": True}, 400, "base64"),
        ([{"event": "unknown"}], {}, 400, None),
        (CHAT, {"headers": None}, 401, "token"),
        (CHAT, {"headers": {"Authorization": "Bearer x"}}, 401, "token"),
        (CHAT, {"scope": "events:read"}, 403, "events:write"),
        ([CHAT] * 10_001, {}, 413, "10000"),
        ("[" + " " * 20 * 1024 * 1024 + "]", {}, 413, "20971520"),
        ([], {}, 202, None),
    ],
)
def test_a_request_that_can_not_be_taken_in_is_answered_clearly(
    body: Any, request_with: dict[str, Any], status: int, said: str | None, api: IngestHandler, sqs: "SQSClient"
) -> None:
    answered, answer = post(api, body, **request_with)
    assert answered == status
    assert said is None or said in answer["message"]
    assert queued(sqs) == []


@pytest.mark.parametrize(
    ("sub", "status", "said"),
    [
        (str(2**63), 400, "positive 64-bit integer"),
        ("9" * 1024, 400, "positive 64-bit integer"),
        ("9" * 5_000, 401, "The token's sub is too long"),
        ("5\0", 401, "characters that can't be stored"),
        ("5 \ud83d", 401, "characters that can't be stored"),
    ],
    ids=["64 bits", "long", "too long", "nul", "half a character"],
)
def test_a_token_whose_sub_is_no_users_id_stands_in_for_no_user(
    sub: str, status: int, said: str, api: IngestHandler
) -> None:
    token = jwt.encode({"sub": sub, "scope": "events:write", "exp": time.time() + 60}, SECRET)
    answered, answer = post(api, CHAT | {"user_id": None}, headers={"Authorization": f"Bearer {token}"})
    assert answered == status
    assert said in (answer["message"] if status == 401 else answer["rejected"][0]["message"])


TAKEN_TYPES = [None, *sorted(JSON_TYPES | LINE_TYPES), "application/vnd.team+json", "Application/JSON; charset=utf-8"]
REFUSED_TYPES = ["text/csv", "application/xml", "multipart/form-data; boundary=json", "json"]


@pytest.mark.parametrize(
    ("content_type", "status"), [*((one, 202) for one in TAKEN_TYPES), *((one, 415) for one in REFUSED_TYPES)]
)
def test_an_event_is_taken_unless_its_type_holds_none(
    content_type: str | None, status: int, api: IngestHandler
) -> None:
    token = jwt.encode({"sub": "1", "scope": "events:write:own", "exp": time.time() + 60}, SECRET)
    headers = {"authorization": f"Bearer {token}"} | ({} if content_type is None else {"content-type": content_type})
    assert post(api, CHAT, headers=headers)[0] == status


def test_a_body_in_base64_is_unpacked(api: IngestHandler, sqs: "SQSClient") -> None:
    assert post(api, base64.b64encode(json.dumps(CHAT).encode()).decode(), isBase64Encoded=True)[0] == 202
    assert len(queued(sqs)) == 1


def test_ten_thousand_events_and_five_megabytes_travel_in_few_messages(api: IngestHandler, sqs: "SQSClient") -> None:
    events = [CHAT | {"number": number, "filler": "ä" * 225} for number in range(10_000)]
    body = json.dumps(events, ensure_ascii=False)
    assert len(body.encode()) > 5_000_000
    status, answer = post(api, body)
    batches = queued(sqs)
    assert (status, answer["accepted"]) == (202, 10_000)
    assert len(batches) <= len(body.encode()) / (256 * 1024) + 2
    arrived = [(batch.event_id(position), raw) for batch in batches for position, raw in batch.indexed()]
    assert [str(identifier) for identifier, _ in arrived] == answer["ids"]
    assert [json.loads(bytes(raw)) for _, raw in arrived] == events


REFUSED_BY_SQS = "\ufffe\uffff"


def text_of(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False)


@pytest.mark.parametrize(
    "body_of",
    [
        text_of,
        lambda event: f"[{text_of(CHAT)}, {text_of(event)}]",
        lambda event: f"[{text_of(event)}, {text_of({'event': 'unknown'})}]",
        lambda event: f"{text_of(CHAT)}\n{text_of(event)}",
        lambda event: text_of({"specversion": "1.0", "id": "1", "source": "a", "type": event["event"], "data": event}),
    ],
    ids=["alone", "in an array", "beside a bad one", "in a line", "in a CloudEvent"],
)
def test_characters_that_sqs_refuses_arrive_all_the_same(
    body_of: Callable[[dict[str, Any]], str], api: IngestHandler, sqs: "SQSClient"
) -> None:
    event = CHAT | {"text": f"{REFUSED_BY_SQS}\ufffd\x7f\U0001f600\\\ufffe"}
    assert post(api, body_of(event))[1]["accepted"] > 0
    raw = [bytes(raw) for batch in queued(sqs) for raw in batch.events]
    assert not any(character.encode() in text for character in REFUSED_BY_SQS for text in raw)
    assert event["text"] in [json.loads(text).get("text") for text in raw]


@pytest.mark.parametrize("more", [0, 1])
def test_an_event_has_the_size_with_which_it_travels(more: int, api: IngestHandler, sqs: "SQSClient") -> None:
    room = MAX_EVENT_BYTES - len(text_of(CHAT | {"text": ""}))
    escaped, rest = divmod(room, len(r"\uffff"))
    event = CHAT | {"text": "\uffff" * escaped + "x" * (rest + more)}
    _, answer = post(api, f"[{','.join([text_of(event)] * 10)}]")
    batches = queued(sqs)
    assert {len(raw) for batch in batches for raw in batch.events} == (set() if more else {MAX_EVENT_BYTES})
    assert [rejected["code"] for rejected in answer["rejected"]] == ["too_large"] * 10 * more


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"event": "\U0010ffff" * 100}, "unknown_event"),
        ({"event": "😀" * 100}, "unknown_event"),
        ({"event": '"' * 200}, "unknown_event"),
        ({"event": "\\" * 200}, "unknown_event"),
        ({"timestamp": "😀" * 100}, "invalid_timestamp"),
        ({"namespace_path": "9/" + "1/" * 480}, "forbidden_namespace"),
    ],
)
def test_the_answer_to_very_many_bad_events_is_one_that_a_function_can_give(
    event: dict[str, Any], code: str, api: IngestHandler
) -> None:
    status, answer = post(api, [CHAT | event] * 9_999 + [CHAT])
    assert (status, answer["accepted"], {one["code"] for one in answer["rejected"]}) == (207, 1, {code})
    body = json.dumps(answer, ensure_ascii=False)
    assert len(json.dumps({"body": body}, ensure_ascii=False).encode()) < 6_000_000


class FailingQueue:
    """A queue that accepts or refuses each message by its number and attempt; `None` raises an error."""

    def __init__(self, refused: dict[int, int]) -> None:
        self.refused = refused
        self.taken: list[str] = []

    def send_message_batch(self, *, Entries: list[dict[str, str]], **_: Any) -> Any:  # noqa: N803 - as boto3 names it
        failed = []
        for entry in Entries:
            number = int(entry["Id"])
            if self.refused.get(number, 0) > 0:
                self.refused[number] -= 1
                failed.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                self.taken.append(entry["MessageBody"])
        return {"Failed": failed}


@pytest.mark.parametrize(
    ("refused", "status", "lost"),
    [
        ({}, 202, 0),
        ({0: 1, 1: 2}, 202, 0),
        ({1: 99}, 207, 1),
        ({0: 99, 1: 99, 2: 99}, 503, 3),
    ],
)
def test_what_the_queue_does_not_take_is_tried_again_and_then_said(
    refused: dict[int, int], status: int, lost: int, api: IngestHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.shared.queue.RETRY_AFTER_SECONDS", (0, 0))
    failing = FailingQueue(refused)
    api.intake = replace(api.intake, send=partial(queue.send, cast("SQSClient", failing), "queue"))
    events = [CHAT | {"filler": "x" * 60_000} for _ in range(12)]  # four a message
    answered, answer = post(api, events)
    assert (answered, len(failing.taken)) == (status, 3 - lost)
    if status == 503:
        assert "again" in answer["message"]
        return
    assert answer["accepted"] == 12 - 4 * lost == sum(identifier is not None for identifier in answer["ids"])
    assert [rejected["index"] for rejected in answer["rejected"]] == ([4, 5, 6, 7] if lost else [])
    assert all(rejected["retryable"] and rejected["code"] == "queue_unavailable" for rejected in answer["rejected"])


class ThrottlingQueue(FailingQueue):
    """A queue that throttles the calls in `throttled`, and answers not at all to those in `lost`."""

    def __init__(self, throttled: set[int], lost: set[int], refused: dict[int, int] | None = None) -> None:
        super().__init__(refused or {})
        self.throttled = throttled
        self.lost = lost
        self.calls = 0

    def send_message_batch(self, **request: Any) -> Any:
        self.calls += 1
        if self.calls in self.throttled:
            error = {"Error": {"Code": "RequestThrottled", "Message": "Slow down."}}
            raise ClientError(cast("Any", error), "SendMessageBatch")
        if self.calls in self.lost:
            raise ReadTimeoutError(endpoint_url="https://queue")
        return super().send_message_batch(**request)


@pytest.mark.parametrize(("throttled", "status"), [({2}, 207), ({1, 3}, 207), ({1, 2, 3}, 503)])
def test_what_a_throttled_queue_does_not_take_may_be_sent_again(
    throttled: set[int], status: int, api: IngestHandler
) -> None:
    throttling = ThrottlingQueue(throttled, set())
    api.intake = replace(api.intake, send=partial(queue.send, cast("SQSClient", throttling), "queue"))
    events = [CHAT | {"filler": "x" * 60_000} for _ in range(48)]  # four a message, four messages a call
    answered, answer = post(api, events)
    assert (answered, len(throttling.taken)) == (status, 4 * (3 - len(throttled)))
    if status == 503:
        assert "again" in answer["message"]
        return
    lost = [index for index in range(48) if index // 16 + 1 in throttled]
    assert [rejected["index"] for rejected in answer["rejected"]] == lost
    assert all(rejected["retryable"] for rejected in answer["rejected"])
    assert [index for index, identifier in enumerate(answer["ids"]) if identifier is None] == lost


@pytest.mark.parametrize(
    ("lost", "refused", "status", "calls", "taken"),
    [
        ({1}, {}, 503, 1, 0),
        ({2}, {}, 207, 2, 4),
        ({2}, {1: 1}, 207, 2, 3),  # of the first messages one is refused, and can't be sent again
        ({3}, {}, 207, 3, 8),
    ],
)
def test_a_queue_that_is_lost_in_the_middle_is_not_waited_for_again(
    lost: set[int],
    refused: dict[int, int],
    status: int,
    calls: int,
    taken: int,
    api: IngestHandler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("functions.shared.queue.RETRY_AFTER_SECONDS", (0, 0))
    losing = ThrottlingQueue(set(), lost, refused)
    api.intake = replace(api.intake, send=partial(queue.send, cast("SQSClient", losing), "queue"))
    events = [CHAT | {"filler": "x" * 60_000} for _ in range(48)]  # four a message, four messages a call
    answered, answer = post(api, events)
    assert (answered, losing.calls, len(losing.taken)) == (status, calls, taken)
    if status == 207:
        assert (answer["accepted"], len(answer["rejected"])) == (4 * taken, 48 - 4 * taken)
        assert all(rejected["retryable"] for rejected in answer["rejected"])


def test_a_queue_that_never_answers_is_given_up_before_the_gateway_gives_up(api: IngestHandler) -> None:
    client, url = cast("partial[set[int]]", api.intake.send).args
    patience = client.meta.config
    attempts = patience.retries["total_max_attempts"]
    assert attempts * (patience.connect_timeout + patience.read_timeout) < GATEWAY_SECONDS - 2 * KEYS_SECONDS
    impatience = PATIENCE.merge(Config(connect_timeout=0.1, read_timeout=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        impatient = boto3.client("sqs", endpoint_url=endpoint, config=impatience)
        assert queue.send(impatient, url, [b"x" * queue.MAX_BATCH_BYTES] * 3) == {0, 1, 2}
        for _ in range(attempts):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_an_unreachable_queue_is_answered_with_503(api: IngestHandler, sqs: "SQSClient") -> None:
    sqs.delete_queue(QueueUrl=sqs.list_queues()["QueueUrls"][0])
    assert post(api, CHAT)[0] == 503


@pytest.mark.parametrize(
    ("scope", "namespaces", "event", "code"),
    [
        ("events:write", [], CHAT, "forbidden_namespace"),
        ("events:write", None, CHAT, "forbidden_namespace"),
        ("events:write", ["27"], CHAT, "forbidden_namespace"),
        ("events:write events:write:own", [], CHAT | {"user_id": 5}, "forbidden_namespace"),
        ("events:write directory:write", [], CHAT, "forbidden_namespace"),
        ("events:write", ["27/"], CHAT, None),
        ("events:write", ["*"], CHAT, None),
        ("events:write:own", [], CHAT | {"user_id": 5}, None),
        ("events:write:own", [], CHAT, "forbidden_user"),
        ("events:write:own", [], CHAT | {"user_id": 5, "namespace_path": "27/"}, "forbidden_namespace"),
    ],
)
def test_a_token_for_all_users_but_for_no_namespace_stores_nothing(
    scope: str, namespaces: Any, event: Any, code: str | None, api: IngestHandler, sqs: "SQSClient"
) -> None:
    claims = {"sub": "5", "scope": scope, "namespaces": namespaces, "exp": time.time() + 60}
    status, answer = post(api, event, headers={"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"})
    assert (status, [rejected["code"] for rejected in answer["rejected"]]) == ((400, [code]) if code else (202, []))
    assert len(queued(sqs)) == (0 if code else 1)


@pytest.mark.parametrize("path", ["/v1/events", "/api/v4/usage_data/track_event"])
def test_a_token_that_no_keys_are_there_to_check_with_is_answered_with_503(
    path: str, api: IngestHandler, sqs: "SQSClient"
) -> None:
    nowhere = AuthSettings(jwks_url=f"http://127.0.0.1:{ports.free()}/keys", issuer="issuer", audience="events")
    api.authenticator = Authenticator(nowhere)
    status, answer = post(api, CHAT, resource=path)
    assert (status, answer.keys()) == (503, {"message"})
    assert "again" in answer["message"]
    assert queued(sqs) == []
