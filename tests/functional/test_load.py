"""`usage-events load` sends to the ingest API, and tells what is stored from what is not."""

import csv
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from functions.graphql.handler import GraphqlHandler
from infra.cli import app
from infra.operations.load.figures import Figures, Sent, percentile
from infra.operations.load.producer import Producer
from infra.operations.load.watch import GraphqlWatch
from tests.support import faulty_api
from tests.support.gateway import Gateway
from tests.support.graphql import MAX_SECONDS, Insert
from tests.support.http_server import served
from tests.support.page_server import serving
from tests.support.ways_in import WaysIn, token

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COUNT = "SELECT count(*), count(DISTINCT user_id) > 1, bool_and(namespace_path LIKE '9001/%') FROM ai_usage_events"


@contextmanager
def ingest_served(ways: WaysIn, *, is_stored: bool) -> Iterator[str]:
    """Serves the ingest API; yields its address.

    Args:
        is_stored: whether the consumer gets what was accepted.
    """
    gateway, one_at_a_time = Gateway(), threading.Lock()
    gateway.ways = ways

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        with one_at_a_time:
            answer = list(gateway(environ, start_response))
            if is_stored and ways.waiting:
                ways.consume_waiting()
            return answer

    with served(application) as address:
        yield address


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Returns a function that runs the command without a local stack."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("USAGE_EVENTS_TOKEN", token(namespaces=["*"]))

    def run(*arguments: str) -> Result:
        options = ["--rate", "10", "--seconds", "2", "--producers", "2", *arguments]
        return CliRunner().invoke(app, ["load", *options])

    return run


def test_all_that_is_accepted_is_stored_and_counted(
    run: Callable[..., Result], ways: WaysIn, connection: psycopg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "load.csv"
    with ingest_served(ways, is_stored=True) as url:
        result = run("--url", url, "--csv", str(file))
    assert result.exit_code == 0, result.output
    assert "Accepted: 20 events" in result.output
    assert "From sending to PostgreSQL: p50" in result.output
    assert "Still on their way: 0" in result.output
    assert connection.execute(COUNT).fetchone() == (20, True, True)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [(row["second"], row["accepted"], row["on_the_way"]) for row in rows] == [("0", "10", "0"), ("1", "10", "0")]
    assert all(0 < float(row["request_p50"]) <= float(row["shown_p100"]) for row in rows)


def test_events_that_are_not_stored_in_time_are_counted_and_fail(run: Callable[..., Result], ways: WaysIn) -> None:
    with ingest_served(ways, is_stored=False) as url:
        result = run("--url", url, "--wait", "1")
    assert result.exit_code == 1
    assert "Still on their way: 20" in result.output
    assert "20 accepted events were not stored within 1 s." in result.output


def test_a_system_that_accepts_nothing_fails_with_its_answers(
    run: Callable[..., Result], ways: WaysIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USAGE_EVENTS_TOKEN", "no token")
    with ingest_served(ways, is_stored=True) as url:
        result = run("--url", url)
    assert result.exit_code == 1
    assert "4 requests: status 401" in result.output
    assert "20 were in failed requests" in result.output
    away = run("--url", "http://127.0.0.1:1", "--seconds", "1", "--rate", "2")
    assert (away.exit_code, "2 requests: ConnectError" in away.output) == (1, True)


@pytest.mark.parametrize(
    ("faults", "accepted", "again", "failed"),
    [(["reset"], 2, 1, 0), (["answer is cut"], 2, 1, 0), (["reset", "reset"], 0, 1, 1), (["503"], 0, 0, 1)],
)
def test_a_request_without_an_answer_is_sent_once_more_with_the_same_events(
    faults: list[str], accepted: int, again: int, failed: int
) -> None:
    figures = Figures()
    events = ({"event": "request_duo_chat_response", "id": str(uuid4()), "user_id": 1} for _ in range(2))
    with faulty_api.serve() as api, httpx.Client() as client:
        api.fail(faults)
        producer = Producer(client, f"{api.url}v1/events", 2, 1, 0, events, figures, threading.Event())
        producer.run(time.monotonic())
        assert all(len(texts) == 1 for texts in api.written.values())
    sent_again = sum(number for reason, number in figures.reasons.items() if reason.endswith(", sent again"))
    assert (figures.accepted, sent_again, figures.reasons.total() - sent_again) == (accepted, again, failed)


def test_graphql_is_paged_until_every_event_is_found(api: GraphqlHandler, insert: Insert) -> None:
    api.now = lambda: datetime.now(UTC)
    stored = {UUID(insert(datetime.now(UTC))): Sent(0, time.monotonic()) for _ in range(1010)}
    missing = {uuid4(): Sent(0, time.monotonic())}
    headers = {"Authorization": f"Bearer {token(namespaces=['*'], scope='events:read')}"}
    with serving(api) as url, httpx.Client(headers=headers, timeout=MAX_SECONDS) as client:
        watch = GraphqlWatch(client, f"{url}/graphql")
        assert watch.look(stored | missing).shown == stored.keys()
        assert watch.look({}).shown == set()
        assert GraphqlWatch(client, "http://127.0.0.1:1/graphql").look(missing).shown == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "No local stack runs"), (["--url", "http://127.0.0.1:1"], "needs a token")],
)
def test_a_system_or_a_token_that_is_missing_is_named(
    arguments: list[str], said: str, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("USAGE_EVENTS_TOKEN")
    result = run(*arguments)
    assert (result.exit_code, said in result.output) == (1, True)


def test_every_accepted_event_is_shown_rejected_or_on_its_way() -> None:
    figures, ids = Figures(), [uuid4() for _ in range(10)]
    figures.answered(3, 100.0, 0.5, ids, 2)
    figures.shown(102.0, ids[:6], ids[6:7])
    total = figures.total()
    assert (total.accepted, total.refused, total.rejected, total.on_the_way) == (10, 2, 1, 3)
    assert figures.pending().keys() == set(ids[7:])
    assert total.shown == [2.0] * 6
    figures.answered(8, 110.0, 0.1, [uuid4()], 0)
    assert "  in the second half:       p50 0.100 s" in "\n".join(figures.lines(10, "GraphQL"))
    figures.late(7)
    assert "Not sent: 7 events" in "\n".join(figures.lines(10, "GraphQL"))


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([5.0], 50, 5.0), ([2.0, 1.0], 50, 1.0), (list(range(1, 101)), 95, 95)]
)
def test_a_percentile_is_one_of_the_values(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected
    assert math.isnan(percentile([], percent))
