"""ClickHouse keeps a copy of the directory, for a PostgreSQL that is lost."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared.postgres import TimeLimits, connect
from functions.sync import kept_directory
from functions.sync.error import SyncError
from functions.sync.handler import build
from functions.sync.kept_directory import copy_directory
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from infra.operations.verify import Verification
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.erasing import chat, message
from tests.support.lambda_context import FakeContext
from tests.support.refilling import SECONDS, another_database, bring, kept_texts

type Copy = Callable[[], int]

PLACE = {"namespace": {"path": "27/28/", "full_path": "acme/team"}}


@pytest.fixture
def copy(database_url: str, client: Client) -> Iterator[Copy]:
    """Returns a function that copies what changed, and returns how many rows."""
    with connect(database_url, TimeLimits(SECONDS, SECONDS)) as connection:
        yield lambda: copy_directory(connection, client, None)


def kept(client: Client, table: str) -> list[str]:
    statement = "SELECT row FROM ai_usage_directory FINAL WHERE source = {source:String}"
    return [text for (text,) in client.query(statement, parameters={"source": table}).result_rows]


def test_only_rows_that_have_changed_are_copied(
    copy: Copy, consumer: ConsumerHandler, connection: psycopg.Connection, client: Client
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in range(1, 300)]))
    assert copy() > 2 * 299
    assert copy() == 0
    connection.execute("UPDATE users SET username = 'é \\ \t''' WHERE id = 7")
    connection.execute("DELETE FROM users WHERE id = 8")
    connection.execute("INSERT INTO users VALUES (1000, 'new', '2026-11-01')")
    assert copy() == 3
    users = {row["id"]: row["username"] for row in map(json.loads, kept(client, "users"))}
    assert (len(users), users[7], users[1000], 8 in users) == (299, "é \\ \t'", "new", False)
    connection.execute("INSERT INTO users VALUES (8, 'again', NULL)")
    assert copy() == 1
    assert len(kept(client, "users")) == 300


def test_every_table_is_kept_or_can_be_done_without(connection: psycopg.Connection) -> None:
    statement = """
        SELECT relname
        FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
    """
    tables = {name for (name,) in connection.execute(statement)}
    assert tables == {table.name for table in kept_directory.TABLES} | kept_directory.NOT_KEPT


def test_a_copy_that_was_interrupted_is_gone_on_with(
    copy: Copy, consumer: ConsumerHandler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in range(1, 300)]))
    monkeypatch.setattr(kept_directory, "_CHUNK_BYTES", 1000)
    insert, times = type(client).raw_insert, iter(range(1000))

    def insert_until_lost(*given: Any, **named: Any) -> Any:
        if next(times) == 50:
            raise ConnectionError
        return insert(*given, **named)

    monkeypatch.setattr(type(client), "raw_insert", insert_until_lost)
    with pytest.raises(ConnectionError):
        copy()
    before = len(kept_texts(client))
    assert 0 < before < before + copy() == len(kept_texts(client))
    assert (len(kept(client, "users")), copy()) == (299, 0)


def test_an_erased_user_is_in_no_version_of_the_copy(
    consumer: ConsumerHandler,
    connection: psycopg.Connection,
    database_url: str,
    clickhouse_url: str,
    client: Client,
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in (5, 6)]))
    bring(database_url, clickhouse_url)
    connection.execute("UPDATE users SET username = 'name-5 renamed' WHERE id = 5")
    bring(database_url, clickhouse_url)
    assert sum("name-5" in text for text in kept_texts(client)) > 2
    assert Eraser(database_url, clickhouse_url).erase(Subject("user", "5"), "a test").clickhouse == "done"
    assert [text for text in kept_texts(client) if "name-5" in text] == []
    assert [json.loads(text)["subject"] for text in kept(client, "erasures")] == ["5"]
    assert sum("name-6" in text for text in kept_texts(client)) == 2


def test_another_postgresql_neither_replaces_the_copy_nor_removes_events(
    consumer: ConsumerHandler,
    database_url: str,
    clickhouse_url: str,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in (5, 6)]))
    with another_database(database_url) as other:
        bring(database_url, clickhouse_url)
        before = kept_texts(client)
        build(database_url=other, clickhouse_url=clickhouse_url)({}, FakeContext())
        assert "ClickHouse keeps the directory of another PostgreSQL" in caplog.text
        erased = Eraser(other, clickhouse_url).erase(Subject("user", "5"), "a test")
        assert erased.failure.startswith("ClickHouse keeps the directory of another PostgreSQL")
        with psycopg.connect(other, autocommit=True) as connection, pytest.raises(SyncError, match="refill"):
            Verification(connection, client, None, NOW.date()).compare(NOW.date().replace(day=1), repair=True)
    assert kept_texts(client) == before


def test_on_a_cluster_the_copy_is_replicated_and_made_everywhere(client: Client) -> None:
    values = {"text": kept_directory.definition("events")}
    ((text,),) = client.query("SELECT formatQuery({text:String})", parameters=values).result_rows
    assert "ON CLUSTER `events`" in text or "ON CLUSTER events" in text
    assert "ENGINE = ReplicatedReplacingMergeTree(version, is_deleted)" in text
