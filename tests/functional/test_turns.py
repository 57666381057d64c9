"""Messages name their tenant, so that SQS delivers fairly, and keep that name wherever they go."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import jwt
import msgspec
import psycopg
import pytest
from botocore.exceptions import EndpointConnectionError

from functions.ingest.api_handler import build
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.message.batch import Batch
from functions.ingest.publisher import Limits, Publisher, QueueDestination, Stats
from functions.ingest.turn import MANY_MESSAGES, in_turn
from functions.shared.grant import Grant
from functions.shared.settings import AuthSettings
from functions.shared.tenant import MAX_GROUP_CHARACTERS, tenant_group
from infra.operations.dead_letters import redrive
from infra.operations.rejected_events import find, replay
from tests.support.consuming import Queues

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SECRET = "a secret of thirty-two characters, at least"
CHAT = {"event": "request_duo_chat_response", "user_id": 5}
LONG = 30.0
PATIENT = Limits(batch_seconds=LONG, first_pause_seconds=0.01)


def groups(queues: Queues) -> list[str | None]:
    """Returns the groups of the waiting messages."""
    return sorted((record["attributes"].get("MessageGroupId") for record in queues.records()), key=str)


def at(path: str) -> dict[str, Any]:
    return CHAT | {"namespace": {"path": path}}


@pytest.mark.parametrize(
    ("namespaces", "events", "group"),
    [
        (["27/28/"], [at("27/28/")], "27/"),
        (["9/", "27/28/", "27/29/"], [at("9/")], "27/,9/"),
        (["*"], [at("27/28/"), CHAT | {"namespace_path": "27/"}], "27/"),
        (["*"], [CHAT | {"project": {"id": 1, "namespace": {"path": "9/3/"}}}], "9/"),
        (["*"], [at("27/"), at("9/")], None),
        (["*"], [at("27/"), CHAT], None),
        (["*"], [CHAT | {"project_id": 4}], None),
    ],
)
def test_a_request_is_queued_with_its_tenant(
    namespaces: list[str], events: list[Any], group: str | None, queues: Queues
) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    claims = {"sub": "5", "scope": "events:write", "namespaces": namespaces, "exp": time.time() + 60}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}
    assert api({"headers": headers, "body": json.dumps(events)}, None)["statusCode"] == 202
    assert groups(queues) == [group]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["27/", "27/28/", "27/29/"], {"27/": 3}),
        (["27/", "9/", "27/29/"], {"27/": 2, "9/": 1}),
        (["27/", "9/", "27/29/", "27/", "3/"], {"27/": 3, None: 2}),
        (["27/", "9/"], {None: 2}),
        ([None, "27/", None], {None: 3}),
        (["gitlab-org/", "27/", "27/"], {"27/": 2, None: 1}),
    ],
)
def test_a_publishers_events_of_one_tenant_do_not_hold_up_those_of_others(
    paths: Sequence[str | None], expected: dict[str | None, int], queues: Queues
) -> None:
    with Publisher(QueueDestination(queues.url), PATIENT) as publisher:
        for path in paths:
            publisher.track_event("request_duo_chat_response", user=5, namespace=path)
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=len(paths))
    records = queues.records()
    sizes = {record["attributes"].get("MessageGroupId"): len(json.loads(record["body"])) for record in records}
    assert (sizes, len(records)) == (expected, len(expected))


class FailsOnce:
    """A client whose second call fails."""

    def __init__(self, sqs: "SQSClient") -> None:
        self.sqs, self.calls = sqs, 0

    def send_message(self, **message: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise EndpointConnectionError(endpoint_url="https://queue")
        return self.sqs.send_message(**message)

    def close(self) -> None:
        pass


def test_of_two_messages_only_the_one_that_failed_is_sent_again(queues: Queues) -> None:
    client = FailsOnce(queues.sqs)
    with Publisher(QueueDestination(queues.url, lambda: cast("SQSClient", client)), PATIENT) as publisher:
        for path in ("27/", "27/", "9/"):
            publisher.track_event("request_duo_chat_response", user=5, namespace=path)
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=3)
    assert (groups(queues), client.calls) == (["27/", "9/"], 3)


def test_a_dead_letter_is_redriven_with_its_tenant(queues: Queues) -> None:
    queues.sqs.send_message(QueueUrl=queues.url, MessageBody="{}", MessageGroupId="27/")
    queues.bury("[]")
    redrive(queues.sqs, queues.dead_letter_url, queues.url)
    assert groups(queues) == ["27/", None]


@pytest.mark.parametrize(("grant", "group"), [(Grant("5", ("events:write",), ("27/",)), "27/"), (None, "9/")])
def test_a_rejected_event_is_replayed_with_its_tenant(
    grant: Grant | None, group: str, queues: Queues, consumer: ConsumerHandler, database_url: str
) -> None:
    raw = msgspec.Raw(json.dumps(at("9/") | {"user_id": -1}).encode())
    consumer.consumer.consume([Batch("request", datetime.now(UTC), [raw], grant=grant)])
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert replay(connection, queues.sqs, queues.url, find(connection)).sent == 1
    assert groups(queues) == [group]


def record(number: int, group: str | None) -> dict[str, Any]:
    return {"messageId": str(number), "attributes": {} if group is None else {"MessageGroupId": group}}


def test_messages_of_tenants_with_few_come_before_those_of_tenants_with_many() -> None:
    of_batch: list[str | None] = ["27/", "27/", "9/", "27/", None, "3/", "27/", "3/"]
    ordered, few = in_turn([record(number, group) for number, group in enumerate(of_batch)])
    assert [int(one["messageId"]) for one in ordered] == [2, 4, 5, 7, 0, 1, 3, 6]
    assert few == len(of_batch)
    busy = [record(number, "31/") for number in range(100, 100 + MANY_MESSAGES)]
    assert in_turn([*busy, *ordered]) == ([*ordered, *busy], len(ordered))


MANY_ROOTS = tuple(f"{number}/" for number in range(1000, 1100))
OWN = ("events:write:own",)
WRITE = ("events:write",)


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        (Grant("5", WRITE, ("27/28/",)), Grant("6", OWN, ("27/", "27/29/")), True),
        (Grant("5", WRITE, ("27/",)), Grant("5", WRITE, ("27/", "9/")), False),
        (Grant("5", OWN, (), "issuer"), Grant("5", OWN, ("*",), "issuer"), True),
        (Grant("5", OWN, (), "issuer"), Grant("5", OWN, (), "another"), False),
        (Grant("5", OWN, ()), Grant("6", OWN, ()), False),
        (Grant("5", WRITE, MANY_ROOTS), Grant("6", WRITE, MANY_ROOTS[::-1]), True),
        (Grant("5", WRITE, MANY_ROOTS), Grant("5", WRITE, MANY_ROOTS[:-1]), False),
        (Grant("5", WRITE, ("9" * 1000 + "/",)), Grant("5", WRITE, ("9" * 1001 + "/",)), False),
    ],
    ids=str,
)
def test_senders_share_a_turn_if_they_have_the_same_roots(one: Grant, other: Grant, *, is_shared: bool) -> None:
    names = [tenant_group(one), tenant_group(other)]
    assert (names[0] == names[1]) is is_shared
    assert all(0 < len(name) <= MAX_GROUP_CHARACTERS and name.isprintable() and " " not in name for name in names)
