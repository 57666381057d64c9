"""Rows that ClickHouse confirmed are kept: by a quorum of replicas, or on the disk of a single server."""

from collections.abc import Iterator

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from typer.testing import CliRunner

from functions.shared import settings
from functions.sync.durability import FSYNC_SETTINGS, MAX_QUORUM_WAIT_SECONDS, QUORUM_SETTINGS
from functions.sync.handler import RESERVE_SECONDS, build
from functions.sync.sync import Sync
from infra.cli import app
from tests.support.clickhouse_front import Failure, Front, serve_front
from tests.support.graphql import Insert
from tests.support.lambda_context import FakeContext

SECONDS = 60

# What an insert into a replicated table may be answered with, by ClickHouse's numbers of errors.
QUORUM_ERRORS = {
    "TOO_FEW_LIVE_REPLICAS": 285,
    "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE": 286,
    "REPLICA_IS_NOT_IN_QUORUM": 289,
    "UNKNOWN_STATUS_OF_INSERT": 319,
    "TABLE_IS_READ_ONLY": 242,
    "KEEPER_EXCEPTION": 999,
}


@pytest.fixture
def front(clickhouse_url: str) -> Iterator[Front]:
    with serve_front(clickhouse_url) as front:
        yield front


def ids(client: Client) -> list[str]:
    """Returns the ids that a query with FINAL sees."""
    return [str(row[0]) for row in client.query("SELECT id FROM ai_usage_events FINAL ORDER BY id").result_rows]


def fsync_settings(client: Client) -> dict[str, str]:
    definition = str(client.command("SELECT engine_full FROM system.tables WHERE name = 'ai_usage_events'"))
    settings = dict(setting.split(" = ") for setting in definition.partition(" SETTINGS ")[2].split(", "))
    return {name: value for name, value in settings.items() if name in FSYNC_SETTINGS}


def parts(client: Client) -> list[tuple[str, ...]]:
    """Returns the files of the table's parts; a rewritten part has another name."""
    statement = (
        "SELECT name FROM system.parts WHERE table = 'ai_usage_events' AND active AND database = currentDatabase()"
    )
    return sorted(tuple(row) for row in client.query(statement).result_rows)


def test_the_table_of_a_single_server_writes_its_parts_to_the_disk(
    database_url: str, clickhouse_url: str, client: Client, insert: Insert
) -> None:
    insert()
    Sync(database_url, clickhouse_url).run(SECONDS)
    assert fsync_settings(client) == FSYNC_SETTINGS


def test_an_existing_table_gets_and_loses_settings_without_rewriting_parts(
    database_url: str, clickhouse_url: str, client: Client, insert: Insert
) -> None:
    stored = [insert()]
    Sync(database_url, clickhouse_url, durable=False).run(SECONDS)
    assert fsync_settings(client) == {}
    before = parts(client)
    for durable in (True, True, False, False, True):
        Sync(database_url, clickhouse_url, durable=durable).run(SECONDS)
        assert fsync_settings(client) == (FSYNC_SETTINGS if durable else {})
    assert parts(client) == before
    assert ids(client) == stored


def test_where_nothing_has_to_be_changed_nothing_is(database_url: str, front: Front, insert: Insert) -> None:
    front.engine_prefix = ""
    insert()
    for _ in range(2):
        Sync(database_url, front.url).run(SECONDS)
    for table in (b"ai_usage_events", b"ai_usage_sync_marks"):
        changes = [
            statement for statement in front.statements if b"ALTER TABLE %b MODIFY SETTING fsync" % table in statement
        ]
        assert len(changes) == 1
    assert not front.inserts[0].keys() & QUORUM_SETTINGS.keys()


def test_a_replicated_insert_asks_for_a_quorum_and_is_not_deduplicated(
    database_url: str, front: Front, insert: Insert
) -> None:
    for _ in range(2):
        insert()
        Sync(database_url, front.url).run(SECONDS)
    assert [{name: sent.get(name) for name in QUORUM_SETTINGS} for sent in front.inserts] == [QUORUM_SETTINGS] * 2
    assert len({sent["insert_deduplication_token"] for sent in front.inserts}) == 2
    assert not any(b"fsync" in statement for statement in front.statements)


def test_a_table_whose_engine_sees_to_it_by_itself_is_asked_for_nothing(
    database_url: str, front: Front, insert: Insert
) -> None:
    front.engine_prefix = "Shared"
    insert()
    Sync(database_url, front.url).run(SECONDS)
    assert not front.inserts[0].keys() & QUORUM_SETTINGS.keys()
    assert not any(b"fsync" in statement for statement in front.statements)


@pytest.mark.parametrize("way", ["function", "command"])
@pytest.mark.parametrize("switch", ["", "off"])
def test_function_and_command_do_as_the_setting_says(
    switch: str,
    way: str,
    database_url: str,
    clickhouse_url: str,
    client: Client,
    insert: Insert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert()
    monkeypatch.setenv("CLICKHOUSE_DURABLE_INSERTS", switch)
    if way == "function":
        durable = settings.clickhouse_durable_inserts()
        build(database_url=database_url, clickhouse_url=clickhouse_url, durable=durable)({}, FakeContext())
    else:
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
        assert CliRunner().invoke(app, ["sync"]).exit_code == 0
    assert fsync_settings(client) == ({} if switch else FSYNC_SETTINGS)


def test_the_quorum_can_be_switched_off(database_url: str, front: Front, insert: Insert) -> None:
    insert()
    Sync(database_url, front.url, durable=False).run(SECONDS)
    assert [sent.keys() & QUORUM_SETTINGS.keys() for sent in front.inserts] == [set()]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("code", QUORUM_ERRORS.values(), ids=QUORUM_ERRORS)
def test_rows_that_no_quorum_has_confirmed_are_sent_again_and_are_there_once(
    code: int,
    stored: bool,
    database_url: str,
    front: Front,
    client: Client,
    insert: Insert,
    connection: psycopg.Connection,
) -> None:
    sync = Sync(database_url, front.url)
    rows = {insert()}
    sync.run(SECONDS)
    rows.add(insert())
    cursor = connection.execute("SELECT xact_id, id FROM sync_state").fetchall()
    for _ in range(2):
        front.failures = [Failure(code, stored)]
        with pytest.raises(ClickHouseError, match=str(code)):
            sync.run(SECONDS)
        assert connection.execute("SELECT xact_id, id FROM sync_state").fetchall() == cursor
    report = sync.run(SECONDS)
    assert (report.status, report.rows, report.refused) == ("caught_up", 1, 0)
    assert set(ids(client)) == rows
    assert len(ids(client)) == 2
    assert connection.execute("SELECT count(*) FROM rejected_events").fetchone() == (0,)


def test_an_insert_waits_for_its_quorum_no_longer_than_a_sync_has_time() -> None:
    assert MAX_QUORUM_WAIT_SECONDS < RESERVE_SECONDS
    assert QUORUM_SETTINGS["insert_quorum_timeout"] == str(MAX_QUORUM_WAIT_SECONDS * 1000)
