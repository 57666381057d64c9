"""No byte of an erased user's payloads stays in ClickHouse's files."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared import clickhouse
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.support.clickhouse import serve_clickhouse
from tests.support.erasing import MARKER, SECONDS, USER, Stores

WAIT_SECONDS = 120

AT_ONCE = "ALTER TABLE ai_usage_events MODIFY SETTING old_parts_lifetime = 1, cleanup_delay_period = 1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stores"


@pytest.fixture
def stores(
    folder: Path, connection: psycopg.Connection, consumer: ConsumerHandler, database_url: str
) -> Iterator[Stores]:
    folder.mkdir()
    with serve_clickhouse(folder) as url:
        yield Stores(connection, consumer, database_url, url)


def files_with_the_marker(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and MARKER.encode() in _bytes(file)]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # ClickHouse has removed it
        return b""


def test_no_byte_of_an_erased_users_payloads_stays(stores: Stores, folder: Path) -> None:
    stores.fill(50, 20, 1)
    data = folder / "clickhouse"
    assert files_with_the_marker(data)
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        client.command(AT_ONCE)
    erased = Eraser(stores.database_url, stores.clickhouse_url).erase(Subject("user", str(USER)), "a test")
    assert (erased.clickhouse, erased.old_parts_seconds) == ("done", 1)
    give_up = time.monotonic() + WAIT_SECONDS
    while files_with_the_marker(data) and time.monotonic() < give_up:
        time.sleep(0.5)
    assert files_with_the_marker(data) == []
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        statement = "SELECT count() FROM system.parts WHERE table = 'ai_usage_events' AND NOT active"
        assert client.query(statement).result_rows == [(0,)]
