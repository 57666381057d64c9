"""What each tenant used is counted in the transaction that stores it, and shared costs follow from it."""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from functions.ingest.consumer_handler import ConsumerHandler
from functions.retention.retention import Retention
from functions.retention.tenant_usage import MONTHS_KEPT
from infra.cli import app
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from infra.operations.tenant_usage import Measure, Prices, Usage, costs, shares
from tests.support.consuming import consume
from tests.support.erasing import message

CENT = Decimal("0.01")
PATHS = ("27/", "27/28/", "271/", "9/3/", None)
COUNTED = "SELECT tenant, sum(events)::int, sum(stored)::int, sum(bytes)::int FROM tenant_usage GROUP BY 1 ORDER BY 1"
STORED = """
    SELECT coalesce(split_part(namespace_path, '/', 1) || '/', 'none') COLLATE "C", count(*)::int
    FROM ai_usage_events
    GROUP BY 1
    ORDER BY 1
"""


def chat(number: int, path: str | None = "27/", moment: datetime | None = None) -> dict[str, Any]:
    namespace = {"namespace": {"path": path}} if path else {}
    own_time = {"timestamp": moment.isoformat()} if moment else {}
    return {"event": "request_duo_chat_response", "user_id": 5, "id": str(UUID(int=number))} | namespace | own_time


def counted(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(COUNTED).fetchall()


def test_the_counts_are_those_of_the_stored_events_however_these_arrive(
    consumer: ConsumerHandler, connection: psycopg.Connection
) -> None:
    random, offered = Random(1), Counter[str]()
    now = datetime.now(UTC)
    for _ in range(30):
        events = []
        for _ in range(random.randrange(1, 40)):
            number = random.randrange(1, 400)
            path = PATHS[number % len(PATHS)]
            moments = (None, now - timedelta(hours=number), now - timedelta(days=40, hours=number))
            events.append(chat(number, path, moments[number % len(moments)]))
            offered[f"{path.partition('/')[0]}/" if path else "none"] += 1
        unstorable = [{"event": "unknown", "user_id": 5}] * random.randrange(3)
        assert consume(consumer, message(events + unstorable)) == []
    counts = counted(connection)
    assert [(tenant, stored) for tenant, _, stored, _ in counts] == connection.execute(STORED).fetchall()
    assert {tenant: events for tenant, events, _, _ in counts} == offered
    assert all(size == stored * len("{}") for _, _, stored, size in counts)
    assert sum(stored for _, _, stored, _ in counts) < offered.total()


def test_payloads_are_counted_as_json(consumer: ConsumerHandler, connection: psycopg.Connection) -> None:
    suggestion = {"event": "code_suggestion_shown_in_ide", "language": "ruby", "suggestion_size": 3}
    consume(consumer, message([chat(1) | suggestion, chat(2, "9/") | suggestion | {"language": "go"}]))
    assert counted(connection) == [
        ("27/", 1, 1, len('{"suggestion_size":3,"language":"ruby"}')),
        ("9/", 1, 1, len('{"suggestion_size":3,"language":"go"}')),
    ]


def test_a_batch_that_is_not_stored_counts_nothing(consumer: ConsumerHandler, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE tenant_usage ADD CONSTRAINT few CHECK (events < 3)")
    stored = message([chat(1), chat(2)])
    assert consume(consumer, stored) == []
    connection.execute("ALTER TABLE tenant_usage RENAME TO elsewhere")
    refused = message([chat(3)])
    assert consume(consumer, refused) == [refused["messageId"]]
    connection.execute("ALTER TABLE elsewhere RENAME TO tenant_usage")
    connection.execute("ALTER TABLE tenant_usage DROP CONSTRAINT few")
    assert counted(connection) == [("27/", 2, 2, 4)]
    assert consume(consumer, refused) == []
    assert consume(consumer, stored) == []
    assert counted(connection) == [("27/", 5, 3, 6)]


def test_an_erased_root_namespace_has_no_counts_and_others_keep_theirs(
    consumer: ConsumerHandler, connection: psycopg.Connection, database_url: str
) -> None:
    consume(consumer, message([chat(1), chat(2, "27/28/"), chat(3, "271/"), chat(4, None)]))
    eraser = Eraser(database_url)
    assert "daily counts" not in eraser.erase(Subject("namespace", "27/28/"), "a test").counts
    assert eraser.erase(Subject("namespace", "27/"), "a test").counts["daily counts"] == 1
    assert [tenant for tenant, *_ in counted(connection)] == ["271/", "none"]


def add(connection: psycopg.Connection, days_ago: int, tenant: str, shard: int, events: int) -> None:
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    values = [day, tenant, shard, events, events, events * 2]
    connection.execute("INSERT INTO tenant_usage VALUES (%s, %s, %s, %s, %s, %s)", values)


def test_the_retention_folds_past_days_and_deletes_old_ones(connection: psycopg.Connection, database_url: str) -> None:
    for days_ago in (0, 1, 2, MONTHS_KEPT * 31 + 1):
        for shard in range(3):
            add(connection, days_ago, "27/", shard, 10)
    before = counted(connection)
    retention = Retention(database_url, 3)
    assert retention.run(datetime.now(UTC), 60, dry_run=True).usage_counts_deleted == 3
    assert counted(connection) == before
    report = retention.run(datetime.now(UTC), 60)
    assert "daily counts of tenants deleted: 3" in report.lines()
    rows = connection.execute(
        "SELECT current_date - day, count(*), sum(events) FROM tenant_usage GROUP BY 1 ORDER BY 1"
    )
    assert [(count, events) for _, count, events in rows] == [(3, 30), (3, 30), (1, 30)]
    assert retention.run(datetime.now(UTC), 60).usage_counts_deleted == 0


def tenants(database_url: str, *arguments: str) -> Result:
    with patch.dict(os.environ):
        return CliRunner().invoke(app, ["tenants", *arguments], env={"DATABASE_URL": database_url})


def test_the_command_shows_usage_shares_and_costs(connection: psycopg.Connection, database_url: str) -> None:
    for days_ago, tenant, events in ((0, "9/", 100), (29, "27/", 250), (1, "27/", 50), (30, "27/", 7000)):
        add(connection, days_ago, tenant, 0, events)
    shown = tenants(database_url).output
    assert "cost" not in shown
    assert [line.replace("│", " ").split() for line in shown.splitlines() if "/" in line] == [
        ["27/", "300", "300", "600", "75.0%"],
        ["9/", "100", "100", "200", "25.0%"],
    ]
    written = tenants(database_url, "--days", "2", "--format", "csv", "--bill", "10", "--per-million-events", "10000")
    assert list(csv.reader(io.StringIO(written.output))) == [
        ["tenant", "events", "stored", "bytes", "share", "cost"],
        ["9/", "100", "100", "200", "0.666667", "7.67"],
        ["27/", "50", "50", "100", "0.333333", "3.83"],
    ]


@pytest.mark.parametrize("amount", ["x", "-1", "NaN", "Infinity"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    result = tenants("none", "--bill", amount)
    assert (result.exit_code, "is not an amount" in result.output) == (2, True)


@given(
    amounts=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**12)), min_size=1, max_size=30),
    bill=st.decimals(0, 100_000, places=2),
    by=st.sampled_from(Measure),
)
def test_the_costs_of_all_tenants_are_the_bill(amounts: Sequence[tuple[int, int]], bill: Decimal, by: Measure) -> None:
    usages = [Usage(f"{number}/", events, events, size) for number, (events, size) in enumerate(amounts, 1)]
    of_each, exact = list(costs(usages, Prices(bill), by)), [bill * share for share in shares(usages, by)]
    whole = bill if any(exact) else Decimal(0)
    assert abs(sum(of_each, Decimal(0)) - whole) <= CENT
    assert all(abs(cost - own) <= 2 * CENT for cost, own in zip(of_each, exact, strict=True))
