"""Accepted events and their uncompressed bytes are counted for each tenant."""

import base64
import gzip
import json
from typing import Any

import pytest

from functions.ingest.api_handler import IngestHandler
from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared.grant import Grant
from functions.shared.tenant import tenant_of
from tests.functional.test_consumer import TENANT, event, from_api, record
from tests.functional.test_ingest_api import CHAT, api, post, sqs

__all__ = ["api", "sqs"]  # fixtures


def counted(output: str) -> list[tuple[str, int, int]]:
    """Returns tenant, events and bytes of each log line that counts them."""
    lines = [json.loads(line) for line in output.splitlines() if "AcceptedEvents" in line]
    return [(line["tenant"], line["AcceptedEvents"], line["AcceptedBytes"]) for line in lines]


def test_a_packed_request_counts_by_what_it_unpacks_to(api: IngestHandler, capsys: pytest.CaptureFixture[str]) -> None:
    one = json.dumps(CHAT).encode()
    body = base64.b64encode(gzip.compress(b"[" + b",".join([one] * 9_999) + b"]")).decode()
    status, answer = post(api, body)
    assert (status, answer["accepted"], len(body) < 47_000) == (202, 9_999, True)
    assert counted(capsys.readouterr().out) == [("27/", 9_999, 9_999 * len(one))]


def test_only_what_is_accepted_counts(api: IngestHandler, capsys: pytest.CaptureFixture[str]) -> None:
    post(api, [CHAT, {"event": "unknown"}, {"event": "unknown", "additional_properties": {}}])
    post(api, [{"event": "unknown"}])
    assert counted(capsys.readouterr().out) == [("27/", 1, len(json.dumps(CHAT)))]


def test_the_line_has_no_tenant_among_the_dimensions_of_its_metrics(
    api: IngestHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    post(api, CHAT)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "AcceptedEvents" in line]
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] in ([[]], [["service"]])


def test_the_consumer_counts_what_was_published_straight_on_the_queue(
    consumer: ConsumerHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    published: list[Any] = [event(), event()]
    packed = base64.b64encode(gzip.compress(json.dumps(published).encode()))
    records = [record(packed, "a"), record(b"[broken", "b"), from_api([event()], TENANT) | {"messageId": "c"}]
    assert consumer({"Records": records}, None) == {"batchItemFailures": []}
    assert counted(capsys.readouterr().out) == [("queue", 2, 2 * len(json.dumps(event())))]


def test_a_tenants_name_is_its_root_namespaces() -> None:
    def named(*namespaces: str) -> str:
        return tenant_of(Grant(sub="a name", scopes=(), namespaces=namespaces))

    assert [named("27/28/", "27/3/"), named("9/", "27/"), named("*"), named(), named("some text")] == [
        "27/",
        "27/,9/",
        "*",
        "none",
        "none",
    ]
    assert named(*(f"{number}/" for number in range(1, 8))) == "1/,2/,3/,4/,5/+2"
