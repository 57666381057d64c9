"""The rights in ClickHouse that the pages grant to the functions' users, tried by the functions on the engine."""

import re
from pathlib import Path
from random import Random

import clickhouse_connect
import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from functions.graphql.query.budget import MAX_SECONDS
from functions.ingest.consumer_handler import ConsumerHandler
from functions.retention.retention import Retention
from functions.sync.analysis import Analysis
from functions.sync.moves import Mover
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from infra.doctor.clickhouse import NEEDED, NEEDED_OF_SYSTEM
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.functional.test_moves import at, say
from tests.functional.test_moves_in_clickhouse import keep_in_clickhouse_only
from tests.support.checkout import ROOT
from tests.support.clickhouse import serve_clickhouse
from tests.support.clock import NOW
from tests.support.documentation import DOCS
from tests.support.graphql import built, request
from tests.support.graphql_queries import QueryMaker
from tests.support.limited_clickhouse import limited_clickhouse, statements_of, users_of
from tests.support.random_events import random_events, store

SECONDS = 60
QUERIES = 60
FULL_ACCESS = statements_of(DOCS / "howto" / "deploy.md")
READERS = statements_of(DOCS / "howto" / "isolate-load.md")

# https://github.com/ClickHouse/ClickHouse/blob/master/src/Access/ContextAccess.cpp lists them.
ALWAYS_READABLE = {"columns", "tables"}


def test_the_rights_for_the_sync_suffice_for_all_that_is_written(
    database_url: str, connection: psycopg.Connection, consumer: ConsumerHandler, tmp_path: Path
) -> None:
    with limited_clickhouse(tmp_path, users_of(FULL_ACCESS)) as url:
        sync = Sync(database_url, url)
        keep_in_clickhouse_only(connection, sync, [(1, "27/28/", None), (2, "27/", None)])
        say(consumer.consumer, at("27/28/", 1_000, 3))
        say(consumer.consumer, at("31/28/", 1_001, 1))
        moved = Mover(database_url, url).run(SECONDS)
        assert (moved.open, moved.events) == (0, 2)
        connection.execute("DELETE FROM ai_usage_events WHERE user_id = 1000")
        assert sync.run(SECONDS).status == "caught_up"
        assert Rollups(database_url, url, rebuild_seconds=0).run(SECONDS).days
        Analysis(database_url, url).run(SECONDS)
        assert Retention(database_url, 3, url, clickhouse_months=24).run(NOW, SECONDS).failure == ""
        erased = Eraser(database_url, url).erase(Subject("user", "1"), "an operator")
        assert (erased.clickhouse, erased.failure) == ("done", "")
        with clickhouse_connect.get_client(dsn=url) as client:
            left = client.query("SELECT user_id FROM ai_usage_events FINAL ORDER BY 1").result_rows
            assert left == [(2,), (1_001,)]


def test_the_rights_for_readers_suffice_for_all_answers(
    database_url: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    store(connection, random_events(Random(7)))
    with serve_clickhouse(tmp_path) as url, built(database_url, clickhouse_url=url) as handler:
        Sync(database_url, url).run(SECONDS)
        Rollups(database_url, url, rebuild_seconds=0).run(SECONDS)
        queries = [QueryMaker(handler.schema, Random(number)).any() for number in range(QUERIES)]
        wanted = [request(handler, query) for query in queries]
    with (
        limited_clickhouse(tmp_path, users_of(READERS)) as url,
        built(database_url, clickhouse_url=url) as handler,
        clickhouse_connect.get_client(dsn=url) as client,
    ):
        handler.max_seconds = MAX_SECONDS  # readers may take no longer than 30 s
        assert [request(handler, query) for query in queries] == wanted
        for statement in (
            "INSERT INTO ai_usage_events (event) VALUES (1)",
            "ALTER TABLE ai_usage_events DELETE WHERE true",
            "CREATE TABLE mine (a Int) ENGINE = Memory",
            "SELECT 1 SETTINGS max_execution_time = 31",
            "SELECT 1 SETTINGS max_memory_usage_for_user = 0",
        ):
            with pytest.raises(DatabaseError, match=r"Code: (164|452|497)"):
                client.command(statement)


def test_clickhouse_understands_the_statements_of_the_pages(client: Client) -> None:
    for statement in (*FULL_ACCESS, *READERS):
        assert client.command(f"EXPLAIN AST {statement}")


def test_tables_of_clickhouse_itself_that_functions_read_are_granted_to_the_sync() -> None:
    folders = (ROOT / "functions", ROOT / "infra" / "operations")
    text = "".join(file.read_text() for folder in folders for file in folder.rglob("*.py"))
    needed = set(re.findall(r"\b(?:FROM|JOIN) system\.(\w+)", text)) - ALWAYS_READABLE
    assert needed == set(re.findall(r"ON system\.(\w+)", " ".join(FULL_ACCESS)))
    assert {f"system.{name}" for name in needed} == set(NEEDED_OF_SYSTEM)
    read_by_graphql = "".join(file.read_text() for file in (ROOT / "functions" / "graphql").rglob("*.py"))
    assert re.findall(r"\bsystem\.\w+", read_by_graphql) == []


def test_the_doctor_checks_the_rights_that_the_page_grants() -> None:
    (granted,) = (text for text in FULL_ACCESS if "usage_events.*" in text)
    assert granted == f"GRANT {', '.join(NEEDED)} ON usage_events.* TO usage_events"
