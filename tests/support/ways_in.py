"""Both ways in, HTTPS and the queue, for tests of stored events."""

import base64
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import replace
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import jwt

from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_api
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.consumer_handler import build as build_consumer
from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.reading import Reading
from functions.shared.settings import AuthSettings
from functions.shared.spare_time import NO_WORK
from tests.support.clock import NOW
from tests.support.consuming import ACCOUNT

SECRET = "a secret of thirty-two characters, at least"
RETENTION_MONTHS = 3
QUEUE_BYTES = 1024 * 1024


def token(**claims: Any) -> str:
    standard = {"sub": "5", "scope": "events:write", "namespaces": ["27/"], "exp": time.time() + 86_400}
    return jwt.encode(standard | claims, SECRET)


@dataclass
class WaysIn:
    """The ingest API with a list as its queue, and the consumer.

    Attributes:
        waiting: messages that the API sent.
        outcomes: the outcome of each group of messages that the consumer stored.
    """

    api: IngestHandler
    consumer: ConsumerHandler
    waiting: list[bytes] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def send(self, bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
        assert len(groups) == len(bodies)
        assert all(len(body) <= QUEUE_BYTES for body in bodies)
        self.waiting += bodies
        return set()

    def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "/v1/events", *, is_text: bool = False
    ) -> tuple[int, Any]:
        """Sends a request; adds a token if the headers have none.

        Args:
            is_text: whether the gateway passes the body as text, which is its default.
        """
        headers = {**(headers or {})}
        if not {"Authorization", "PRIVATE-TOKEN"} & headers.keys():
            headers["Authorization"] = f"Bearer {token()}"
        text = body.decode(errors="replace") if is_text else base64.b64encode(body).decode()
        event = {"resource": path, "path": path, "headers": headers, "body": text, "isBase64Encoded": not is_text}
        answer = self.api(event, None)
        return answer["statusCode"], json.loads(answer["body"])

    def consume(self, *bodies: str, message_id: str = "message") -> Outcome:
        """Passes messages to the consumer, and checks that it reports none as failed."""
        attributes = {"SentTimestamp": str(round(NOW.timestamp() * 1000)), "ApproximateReceiveCount": "1"}
        records = [{"messageId": message_id, "body": body, "attributes": attributes} for body in bodies]
        before = len(self.outcomes)
        assert self.consumer({"Records": records}, None) == {"batchItemFailures": []}
        return sum(self.outcomes[before:], Outcome())

    def consume_waiting(self) -> Outcome:
        """Passes the API's messages to the consumer."""
        outcome = self.consume(*(body.decode() for body in self.waiting))
        self.waiting.clear()
        return outcome


@dataclass
class NotedConsumer(Consumer):
    """A consumer that records the outcomes of whole groups, not those of their halves."""

    outcomes: list[Outcome] = field(default_factory=list)
    depth: int = 0

    def consume(
        self, batches: Sequence[Batch], reading: Reading | None = None, spare_work: Iterator[object] = NO_WORK
    ) -> Outcome:
        self.depth += 1
        try:
            outcome = super().consume(batches, reading, spare_work)
        finally:
            self.depth -= 1
        if self.depth == 0:
            self.outcomes.append(outcome)
        return outcome


@contextmanager
def ways_in(database_url: str) -> Iterator[WaysIn]:
    with patch.dict("os.environ", ACCOUNT):
        api = build_api(auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=RETENTION_MONTHS)
    consumer = build_consumer(database_url=database_url, retention_months=RETENTION_MONTHS)
    noted = NotedConsumer(consumer.consumer.database, consumer.consumer.registry, RETENTION_MONTHS)
    consumer.consumer = noted
    ways = WaysIn(api, consumer, outcomes=noted.outcomes)
    api.intake = replace(api.intake, send=ways.send)
    logger = logging.getLogger(ways.api.logger.name)  # the functions share one in this process
    level = logger.level
    logger.setLevel(logging.WARNING)  # thousands of events may come
    try:
        yield ways
    finally:
        logger.setLevel(level)
        ways.consumer.consumer.database.close()
