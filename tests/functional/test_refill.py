"""A lost PostgreSQL is refilled from ClickHouse."""

from collections.abc import Iterator

import psycopg
import pytest

from functions.ingest.consumer_handler import ConsumerHandler
from infra.operations.refill.refill import Refill
from tests.functional.test_sync import MANY, in_postgres
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.erasing import chat, message
from tests.support.refilling import another_database, bring, differences, directory_of

MANY_EVENTS = 3_000


@pytest.fixture
def new_url(database_url: str) -> Iterator[str]:
    """The URL of a migrated, empty database, which is another than `database_url`."""
    with another_database(database_url) as url:
        yield url


@pytest.fixture
def new(new_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the new database."""
    with psycopg.connect(new_url, autocommit=True) as connection:
        yield connection


def fill(consumer: ConsumerHandler, connection: psycopg.Connection) -> None:
    """Stores events of many kinds, and a directory with names, projects and a move."""
    connection.execute(MANY, [MANY_EVENTS])
    moved = {"namespace": {"path": "27/28/", "full_path": "acme/team", "id": 28}}
    project = {"id": 4, "full_path": "acme/team/app", "namespace": {"path": "27/28/"}}
    bodies = [
        *(chat(number, **moved, project=project) for number in range(1, 40)),
        chat(5, namespace={"path": "31/28/", "full_path": "other/team"}, timestamp=NOW.isoformat()),
    ]
    assert consume(consumer, message(bodies)) == []


def test_events_and_directory_come_back_as_they_were(
    new_url: str,
    new: psycopg.Connection,
    consumer: ConsumerHandler,
    database_url: str,
    connection: psycopg.Connection,
    clickhouse_url: str,
) -> None:
    fill(consumer, connection)
    bring(database_url, clickhouse_url)
    refilled = Refill(new_url, clickhouse_url).run()
    assert refilled.added == MANY_EVENTS + 40
    assert in_postgres(new) == in_postgres(connection)
    assert directory_of(new) == directory_of(connection)
    assert differences(new_url, clickhouse_url) == []
