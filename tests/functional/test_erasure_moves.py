"""A namespace is erased as it is now, also while what is stored of it is still at a former path."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared import clickhouse, locks
from functions.sync.moves import Mover
from infra.operations.erasure.erase import Erased, Eraser, ErasureError
from infra.operations.erasure.subject import Subject
from tests.support.consuming import consume
from tests.support.erasing import SECONDS, Stores, chat, message, unknown

ACME, BIGCORP = {"namespace": {"path": "27/"}}, {"namespace": {"path": "31/"}}
TEAM_BEFORE, TEAM_NOW = {"namespace": {"path": "27/28/"}}, {"namespace": {"path": "31/28/"}}
BEFORE = timedelta(minutes=1)
EARLIER, LATER = {"timestamp": "2026-11-20T12:00:00Z"}, {"timestamp": "2026-11-21T12:00:00Z"}

STORED = "SELECT user_id, namespace_path FROM ai_usage_events ORDER BY user_id, namespace_path"


@pytest.fixture
def stores(connection: psycopg.Connection, consumer: ConsumerHandler, database_url: str, clickhouse_url: str) -> Stores:
    stores = Stores(connection, consumer, database_url, clickhouse_url)
    stores.consume(chat(1, **ACME), chat(2, **BIGCORP), chat(3, **TEAM_BEFORE, **EARLIER))
    return stores


def erase(stores: Stores, path: str, wait_seconds: float = 30) -> Erased:
    eraser = Eraser(stores.database_url, stores.clickhouse_url, wait_seconds=wait_seconds)
    return eraser.erase(Subject("namespace", path), "a test")


def stored(stores: Stores) -> list[tuple[Any, ...]]:
    return stores.connection.execute(STORED).fetchall()


def in_clickhouse(stores: Stores) -> list[tuple[Any, ...]]:
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        rows = client.query("SELECT user_id, namespace_path FROM ai_usage_events FINAL ORDER BY user_id").result_rows
        return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("erased", "left"),
    [("31/", [(1, "27/")]), ("31/28/", [(1, "27/"), (2, "31/")]), ("27/", [(2, "31/"), (3, "31/28/"), (4, "31/28/")])],
)
def test_what_waits_to_move_is_erased_with_the_namespace_where_it_is_now(
    erased: str, left: list[tuple[int, str]], stores: Stores
) -> None:
    stores.sync()
    stores.consume(chat(4, **TEAM_NOW, **LATER))
    erase(stores, erased)
    stores.sync()
    Mover(stores.database_url, stores.clickhouse_url).run(SECONDS)
    stores.sync()
    assert (stored(stores), in_clickhouse(stores)) == (left, left)


def test_nothing_is_erased_while_events_can_not_be_moved(stores: Stores) -> None:
    stores.consume(chat(4, **TEAM_NOW, **LATER))
    with psycopg.connect(stores.database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.MOVES])
        with pytest.raises(ErasureError, match="nothing was removed yet: after 1 s events still wait to be moved"):
            erase(stores, "31/", wait_seconds=1)
    assert len(stored(stores)) == 4
    erase(stores, "31/")
    assert stored(stores) == [(1, "27/")]


def test_late_events_with_a_former_path_of_an_erased_namespace_are_not_stored(stores: Stores) -> None:
    app = {"project": {"id": 4, "namespace": {"path": "30/"}}}
    stores.consume(chat(4, **TEAM_NOW, **LATER), chat(5, **app, **EARLIER))
    stores.consume(chat(5, project={"id": 4, "namespace": {"path": "31/"}}, **LATER))
    erased = erase(stores, "31/")
    late = [
        chat(6, **TEAM_BEFORE, **EARLIER), chat(6, namespace={"path": "27/28/29/"}), chat(6, **app),
        unknown(6) | TEAM_BEFORE,
        chat(7, namespace={"path": "27/29/"}), chat(8, namespace={"path": "30/"}),
    ]  # fmt: skip
    assert consume(stores.consumer, message(late, erased.requested_at - BEFORE)) == []
    assert stored(stores) == [(1, "27/"), (7, "27/29/"), (8, "30/")]
    assert stores.connection.execute("SELECT count(*) FROM rejected_events").fetchall() == [(0,)]
    assert consume(stores.consumer, message([chat(9, **TEAM_BEFORE)])) == []
    assert stored(stores)[-1] == (9, "27/28/")
