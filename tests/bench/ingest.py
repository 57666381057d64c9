"""The ingest function without the queue, against decoding and encoding the same bodies."""

import json
import os
from collections.abc import Iterator, Sequence
from copy import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from functions.ingest.api_handler import build
from functions.shared.grant import EVERYTHING, WRITE
from functions.shared.settings import AuthSettings
from infra.operations.token import sign
from tests.bench.events import events
from tests.bench.machine import pinned
from tests.bench.measure import Measurement, against, by_turns, rates

EVENTS = 1_000
TURNS = 100
WARM_UP = 5
SECRET = "a secret of thirty-two characters, at least"


def measure(_: Path) -> Iterator[Measurement]:
    """Measures `ingest_vs_codec` and `ingest_messages`."""
    with patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):
        handler = build(
            auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3, log_level="WARNING"
        )
    sent: list[bytes] = []
    handler.intake = replace(handler.intake, send=partial(_taken, sent))
    body = json.dumps(list(events(EVENTS)))
    token = sign(SECRET, "1", [WRITE], [EVERYTHING], timedelta(hours=1))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    posted, coded = partial(_posted, handler, headers, body), partial(_coded, body.encode())
    with pinned():
        own, codec = by_turns(TURNS, WARM_UP, posted, coded)
    yield rates("ingest_vs_codec", EVENTS, "events", own, codec)
    yield against("ingest_messages", sum(map(len, sent)), "bytes", len(body.encode()))


def _taken(sent: list[bytes], bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
    sent[:] = bodies
    return set()


def _posted(handler: Any, headers: dict[str, str], body: str) -> None:
    answer = handler({"resource": "/v1/events", "headers": headers, "body": body, "isBase64Encoded": False}, None)
    if answer["statusCode"] != 202:
        raise RuntimeError(f"Not all events were accepted: {answer['body'][:300]}")


def _coded(body: bytes) -> None:
    msgspec.json.encode(msgspec.json.decode(body))
