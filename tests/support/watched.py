"""A stack whose functions run in this process, minute by minute, while what they emit is kept as metrics.

The functions and both stores are real. What AWS itself counts (of functions, the API and the queue) is counted here as
its documentation says. A minute takes as long as its work; its metrics get the time of the simulated minute.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import replace
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import jwt
import msgspec
import pytest

from functions.canary.canary import Canary
from functions.canary.handler import CanaryHandler
from functions.canary.https import Unanswered
from functions.canary.token import token_source
from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_ingest
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.consumer_handler import build as build_consumer
from functions.retention.contract.watch import ContractWatch
from functions.retention.handler import RetentionHandler
from functions.retention.handler import build as build_retention
from functions.retention.retention import Retention
from functions.shared.postgres import Database, TimeLimits
from functions.shared.secret import UrlSource
from functions.shared.settings import AuthSettings, CanaryTokens
from functions.shared.signing_secrets import SigningSecrets
from functions.shared.timestamp import utc_now
from functions.sync.handler import SyncHandler, build
from tests.support.checkout import ROOT
from tests.support.cloudwatch import Metrics, load_alarms, raised
from tests.support.consuming import ACCOUNT
from tests.support.emitted_metrics import emitted
from tests.support.graphql import built
from tests.support.lambda_context import FakeContext
from tests.support.ways_in import SECRET

STACK = "watched"
FUNCTIONS = ("Ingest", "Consumer", "Graphql", "Sync", "Retention")
PARAMETERS = {
    "StackName": STACK,
    "StageName": "live",
    "QueueName": "queue",
    "DeadLetterQueueName": "dead",
    "ClickHouse": "on",
    "Canary": "on",
} | {f"{name}Function": name for name in FUNCTIONS}
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
VISIBILITY_SECONDS = 360
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
NO_CLICKHOUSE = "clickhouse://default@127.0.0.1:1/default"
QUERY = "{ aiInstanceUsageData { all(first: 1) { nodes { id } } } }"


@dataclass
class Waiting:
    """A message in the queue."""

    body: bytes
    sent_at: float
    id: str = field(default_factory=lambda: str(uuid4()))
    receives: int = 0
    visible_at: float = 0


@dataclass
class Watched:
    """The stack.

    Attributes:
        now: the simulated time in seconds.
        due: what runs each minute; a fault takes something away or adds to it.
        events: makes the events that a request sends each minute.
        published: bodies that are published on the queue each minute.
        max_receives: after so many receives a message is a dead letter.
        throttled: functions that Lambda does not run.
        canary_waited: simulated seconds that the present canary has waited.
        patches: what a fault replaced, until the test is over.
    """

    capsys: pytest.CaptureFixture[str]
    ingest: IngestHandler
    consumer: ConsumerHandler
    graphql: GraphqlHandler
    sync: SyncHandler
    retention: RetentionHandler
    metrics: Metrics = field(default_factory=Metrics)
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    now: float = 30 * DAY
    due: list[Callable[[], None]] = field(default_factory=list)
    events: Callable[[], list[Any]] = lambda: [{"event": "request_duo_chat_response", "user_id": 1}]
    published: list[Any] = field(default_factory=list)
    queue: list[Waiting] = field(default_factory=list)
    dead: list[Waiting] = field(default_factory=list)
    max_receives: int = 1000
    throttled: set[str] = field(default_factory=set)
    canary: CanaryHandler = field(init=False)
    canary_waited: float = 0
    patches: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        for file in ("alarms", "objectives"):
            self.alarms |= load_alarms(ROOT / "infra" / f"{file}.yaml", PARAMETERS)
        self.ingest.intake = replace(self.ingest.intake, send=self.send)
        self.canary = self.built_canary(SECRET)
        self.due = [self.post, self.store, self.ask, self.copy, self.fly]

    def send(self, bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:  # noqa: ARG002
        """Puts messages on the queue."""
        self.queue += [Waiting(body, self.now) for body in bodies]
        return set()

    def minutes(self, number: int) -> set[str]:
        """Lets minutes pass; returns the alarms that were raised at the end of any of them."""
        found: set[str] = set()
        for _ in range(number):
            for step in tuple(self.due):
                step()
            self._count_messages()
            self.now += MINUTE
            found |= raised(self.alarms, self.metrics, self.now)
        return found

    def repeat(self, seconds: float) -> None:
        """Makes every minute of so long before this one like the last, except for the retention's metrics."""
        begin, end = self.now - seconds, self.now - MINUTE
        for key, values in self.metrics.values.items():
            last = [value for time, value in values if time >= end]
            if "Retention" not in str(key):
                values[:] = [(time, value) for time, value in values if not begin <= time < end]
                values += [(self.now - at, value) for at in range(2 * MINUTE, int(seconds), MINUTE) for value in last]

    def post(self) -> None:
        """Sends the minute's events, and publishes its messages."""
        answer = self._invoke("Ingest", self.ingest, self._request({}, self.events()))
        self._count_answer(answer)
        for body in self.published:
            self.send([json.dumps(body).encode()], groups=[None])

    def ask(self) -> None:
        """Sends a query."""
        self._count_answer(self._invoke("Graphql", self.graphql, self._request({}, {"query": QUERY})))

    def copy(self) -> None:
        """Runs the sync."""
        self._invoke("Sync", self.sync, {})

    def retain(self) -> None:
        """Runs the retention."""
        self._invoke("Retention", self.retention, {})

    def fly(self) -> None:
        """Sends a canary, every minute so that each is like the last."""
        self.canary_waited = 0
        self._invoke("Canary", self.canary, {})

    def built_canary(self, secret: str) -> CanaryHandler:
        """Returns a canary whose requests reach the functions, and whose time is the simulated one."""
        token = token_source(CanaryTokens(None, SigningSecrets(secret)))
        canary = Canary("https://api", token, self._answer, self._wait, lambda: self.canary_waited)
        return CanaryHandler(self.ingest.logger, canary)

    def _answer(self, url: str, body: Any, token: str) -> dict[str, Any]:
        name, function = ("Graphql", self.graphql) if url.endswith("graphql") else ("Ingest", self.ingest)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        event = self._request({"headers": headers}, json.loads(msgspec.json.encode(body)))
        answer = self._invoke(name, function, event)
        self._count_answer(answer)
        if answer is None or answer["statusCode"] >= 400:
            raise Unanswered("refused")
        content: dict[str, Any] = json.loads(answer["body"])
        return content

    def _wait(self, seconds: float) -> None:
        """Lets a canary wait: the consumer and, after a minute, the sync go on meanwhile."""
        is_first, had_minute = self.canary_waited == 0, self.canary_waited >= MINUTE
        self.canary_waited += seconds
        if is_first and self.store in self.due:
            self.store()
        if not had_minute and self.canary_waited >= MINUTE and self.copy in self.due:
            self.copy()
            self.graphql.stores.check_again()  # ten seconds have passed

    def store(self) -> None:
        """Passes the visible messages to the consumer."""
        batch = [message for message in self.queue if message.visible_at <= self.now]
        if not batch:
            return
        if "Consumer" in self.throttled:  # the poller waits; no message is received
            self._count("AWS/Lambda", "Throttles", {"FunctionName": "Consumer"}, 1)
            return
        for message in batch:
            message.receives += 1
            message.visible_at = self.now + VISIBILITY_SECONDS
        answer = self._invoke("Consumer", self.consumer, {"Records": [_record(message) for message in batch]})
        if answer is not None:
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            self.queue = [one for one in self.queue if one not in batch or one.id in failed]
        self.dead += [one for one in self.queue if one.receives >= self.max_receives]
        self.queue = [one for one in self.queue if one.receives < self.max_receives]

    def _request(self, event: dict[str, Any], body: Any) -> dict[str, Any]:
        expiry = round(utc_now().timestamp()) + 600
        claims = {"sub": "5", "scope": "events:write events:read", "namespaces": ["*"], "exp": expiry}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}", "Content-Type": "application/json"}
        return {"httpMethod": "POST", "headers": headers, "body": json.dumps(body), "isBase64Encoded": False} | event

    def _invoke(self, name: str, function: Callable[..., Any], event: dict[str, Any]) -> Any:
        """Returns the function's answer, None if it fails; keeps what it emits, and what Lambda counts."""
        named, failed = {"FunctionName": name}, 0
        environment = {"POWERTOOLS_SERVICE_NAME": name.lower(), "STACK_NAME": STACK}
        self.capsys.readouterr()
        with patch.dict("os.environ", environment):
            try:
                answer = function(event, FakeContext())
            except Exception:  # noqa: BLE001 - as Lambda does
                answer, failed = None, 1
        for one in emitted(self.capsys.readouterr().out):
            self._count("AiUsageEvents", one.name, one.dimensions, *one.values)
        self._count("AWS/Lambda", "Invocations", named, 1)
        self._count("AWS/Lambda", "Errors", named, failed)
        self._count("AWS/Lambda", "Throttles", named, 0)
        return answer

    def _count_answer(self, answer: Any) -> None:
        status = answer["statusCode"] if answer else 502
        self._count("AWS/ApiGateway", "5XXError", {"ApiName": STACK, "Stage": "live"}, int(status >= 500))

    def _count_messages(self) -> None:
        """Counts the queue at the end of the minute, the oldest message without those that failed three times."""
        end = self.now + MINUTE
        ages = [end - one.sent_at for one in self.queue if one.receives < 3]
        oldest = max(ages, default=0)
        self._count("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "queue"}, oldest)
        visible = sum(one.visible_at <= end for one in self.queue)
        self._count("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": "queue"}, visible)
        self._count("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": "dead"}, len(self.dead))

    def _count(self, namespace: str, name: str, dimensions: Any, *values: float) -> None:
        self.metrics.record(namespace, name, dimensions, self.now, *values)


def _record(message: Waiting) -> dict[str, Any]:
    sent = str(round(utc_now().timestamp() * 1000))
    return {
        "messageId": message.id,
        "body": message.body.decode(),
        "attributes": {"SentTimestamp": sent, "ApproximateReceiveCount": str(message.receives)},
    }


@contextmanager
def watched(database_url: str, clickhouse_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Watched]:
    """Yields a stack that has been healthy for a day."""
    with patch.dict("os.environ", ACCOUNT):
        ingest = build_ingest(auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3)
    consumer = build_consumer(database_url=database_url, retention_months=3)
    retention = build_retention(
        Retention(database_url, 3, clickhouse_url), contract=ContractWatch(database_url, clickhouse_url)
    )
    logger = logging.getLogger(ingest.logger.name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what is emitted is read from the standard output
    try:
        with (
            built(database_url, clickhouse_url=clickhouse_url) as graphql,
            closing(consumer.consumer.database),
            ExitStack() as patches,
        ):
            sync = built_sync(database_url, clickhouse_url)
            stack = Watched(capsys, ingest, consumer, graphql, sync, retention, patches=patches)
            stack.minutes(2)
            stack.retain()
            stack.repeat(7 * HOUR)
            yield stack
    finally:
        logger.setLevel(level)
        handler: Any = ingest.logger.registered_handler
        handler.stream = sys.__stdout__  # that of the test ends with it, and later tests use the same handler


def built_sync(database_url: UrlSource, clickhouse_url: UrlSource) -> SyncHandler:
    """Returns the sync without what it does beside copying events, which takes most of its time."""
    sync = build(database_url=database_url, clickhouse_url=clickhouse_url)
    sync.rollups = sync.analysis = None
    return sync


def without_postgresql(stack: Watched) -> None:
    """Makes PostgreSQL unreachable for all functions."""
    database = Database(NOWHERE, TimeLimits(5, 5))
    stack.consumer.consumer.database = database
    stack.graphql.database = database
    stack.graphql.stores = StoreRouter(database, None)
    stack.sync = built_sync(NOWHERE, NO_CLICKHOUSE)
