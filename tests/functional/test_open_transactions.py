"""The sync beside open transactions, in the same database and in others of the server."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import replace
from random import Random
from unittest.mock import patch
from uuid import UUID, uuid4

import psycopg
import pytest
from aws_lambda_powertools import Logger
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from functions.retention.retention import Retention
from functions.shared.postgres import TimeLimits, connect
from functions.shared.sync_state import oldest_transaction
from functions.sync.handler import build
from functions.sync.sync import Sync
from infra.cli import app
from tests.support.clock import NOW
from tests.support.emitted_metrics import metrics
from tests.support.lambda_context import FakeContext

SECONDS = 60
ROUNDS = 400 if os.environ.get("SOAK") else 15
INSERT = "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, %s, 6, 1, '{}')"
WRITE = "SELECT pg_current_xact_id()"


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[psycopg.Connection]:
    """An open transaction with a write, in another database of the server."""
    with psycopg.connect(f"{database_url.rpartition('/')[0]}/postgres") as elsewhere:
        elsewhere.execute(WRITE)
        yield elsewhere


def store(connection: psycopg.Connection) -> UUID:
    identifier = uuid4()
    connection.execute(INSERT, [identifier, NOW])
    return identifier


def copied(client: Client) -> set[UUID]:
    return {row[0] for row in client.query("SELECT id FROM ai_usage_events").result_rows}


def test_a_transaction_in_another_database_does_not_stop_the_sync(
    sync: Sync, client: Client, connection: psycopg.Connection, elsewhere: psycopg.Connection, clickhouse_url: str
) -> None:
    for _ in range(2):  # its cursor is beyond that transaction then, which makes it no other PostgreSQL's
        store(connection)
        report = sync.run(SECONDS)
        assert (report.status, report.rows, report.waits_for) == ("caught_up", 1, None)
        assert report.oldest_transaction_seconds == 0
    assert len(copied(client)) == 2
    assert Retention(sync.database_url, 3, clickhouse_url).run(NOW, SECONDS).failure == ""


def test_an_open_transaction_of_this_database_is_awaited_and_named(
    sync: Sync, client: Client, connection: psycopg.Connection, elsewhere: psycopg.Connection
) -> None:
    with psycopg.connect(str(sync.database_url)) as late:
        late.execute("SELECT pg_sleep(0.02)")
        waited_for = store(late)
        store(connection)
        report = sync.run(SECONDS)
        assert report.rows == 0
        assert report.waits_for is not None
        assert f"process {late.info.backend_pid}, open since" in report.waits_for
        assert f"role postgres, database {late.info.dbname}" in report.waits_for
        assert report.oldest_transaction_seconds is not None
        assert report.oldest_transaction_seconds >= 0.02
        with patch.dict(os.environ):
            environment = {"DATABASE_URL": str(sync.database_url), "CLICKHOUSE_URL": str(sync.clickhouse_url)}
            result = CliRunner().invoke(app, ["status"], env=environment)
        assert f"process {late.info.backend_pid}, open since" in result.output
        assert f"database {late.info.dbname}" in result.output
    assert sync.run(SECONDS).rows == 2
    assert waited_for in copied(client)
    elsewhere.rollback()


def test_what_the_sync_waits_for_is_in_its_log_line_and_a_metric(
    sync: Sync, connection: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = Logger(service=str(uuid4()), level="INFO")  # whose lines go to this test's output
    handler = replace(build(database_url=sync.database_url, clickhouse_url=sync.clickhouse_url), logger=logger)
    with psycopg.connect(str(sync.database_url)) as late:
        store(late)
        handler({}, FakeContext())
        output = capsys.readouterr().out
        (line,) = [json.loads(line) for line in output.splitlines() if '"synced"' in line]
        assert f"process {late.info.backend_pid}" in line["waits_for"]
        assert metrics(output)["SyncOldestTransactionSeconds"] > 0
    handler({}, FakeContext())
    assert metrics(capsys.readouterr().out)["SyncOldestTransactionSeconds"] == 0


def test_a_role_without_statistics_rights_still_copies_and_names_the_session(
    sync: Sync, client: Client, connection: psycopg.Connection, elsewhere: psycopg.Connection
) -> None:
    connection.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
    try:
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO modest")
        address = str(sync.database_url).partition("://")[2].rpartition("@")[2]
        own = Sync(f"postgresql://modest:modest@{address}", sync.clickhouse_url)
        store(connection)
        assert own.run(SECONDS).rows == 1
        with psycopg.connect(str(sync.database_url)) as late:
            store(late)
            report = own.run(SECONDS)
            unknown = "open since an unknown time (the role may not read it)"
            assert f"process {late.info.backend_pid}, {unknown}" in str(report.waits_for)
            assert report.oldest_transaction_seconds is None
        assert own.run(SECONDS).rows == 1
    finally:
        connection.execute("DROP OWNED BY modest")
        connection.execute("DROP ROLE modest")


def test_who_has_transactions_open_is_never_looked_at_within_one(database_url: str) -> None:
    with (
        connect(database_url, TimeLimits(SECONDS, SECONDS)) as own,
        own.transaction(),
        pytest.raises(AssertionError, match="requires a connection without an open transaction"),
    ):
        oldest_transaction(own)


def test_no_row_is_missed_while_transactions_come_and_go_in_several_databases(
    sync: Sync, client: Client, connection: psycopg.Connection, elsewhere: psycopg.Connection
) -> None:
    """Each writer uses a new connection for each transaction, so that the server reuses process slots."""
    over = threading.Event()
    other_url = f"{str(sync.database_url).rpartition('/')[0]}/postgres"

    def write(seed: int) -> set[UUID]:
        random, stored = Random(seed), set()
        for _ in range(ROUNDS):
            with psycopg.connect(str(sync.database_url)) as own:
                own.execute(WRITE)
                own.execute("SELECT pg_sleep(%s)", [random.random() / 50])
                identifier = store(own)
                if random.random() < 0.2:
                    own.rollback()
                else:
                    stored.add(identifier)
        return stored

    def bustle() -> None:
        while not over.is_set():
            with psycopg.connect(other_url) as other:
                other.execute(WRITE)
                other.execute("SELECT pg_sleep(0.002)")

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(bustle) for _ in range(2)]
        writers = [pool.submit(write, seed) for seed in range(3)]
        try:
            while not all(writer.done() for writer in writers):
                sync.run(SECONDS)
        finally:
            over.set()
        stored = set[UUID]().union(*(writer.result() for writer in writers))
        assert [other.result() for other in others] == [None, None]
    sync.run(SECONDS)
    assert copied(client) == stored
