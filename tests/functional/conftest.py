"""Fixtures that several functional tests share."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from random import Random
from typing import Any
from unittest.mock import patch

import boto3
import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from moto import mock_aws
from psycopg.rows import dict_row

from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.shared import clickhouse
from functions.shared.identifier import derived_id
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from tests.support.clock import NOW
from tests.support.consuming import ACCOUNT, Queues
from tests.support.graphql import Insert, built
from tests.support.metrics_model import Event
from tests.support.payloads import PayloadStores, open_stores
from tests.support.random_events import random_events, store
from tests.support.ways_in import WaysIn, ways_in

SYNC_SECONDS = 60


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the test's database in autocommit mode."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    """A client of ClickHouse."""
    with closing(clickhouse.connect(clickhouse_url, SYNC_SECONDS)) as client:
        yield client


@pytest.fixture
def sync(database_url: str, clickhouse_url: str) -> Sync:
    """The sync from the database to ClickHouse."""
    return Sync(database_url, clickhouse_url)


@pytest.fixture
def insert(connection: psycopg.Connection) -> Insert:
    """Returns a function that inserts an event with plain SQL and returns its id."""
    numbers = iter(range(1_000_000))

    def insert(
        timestamp: datetime = NOW,
        event: int = 6,
        user_id: int = 1,
        path: str | None = None,
        project: int | None = None,
        **payload: Any,
    ) -> str:
        identifier = derived_id(timestamp, "test", next(numbers))
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [identifier, timestamp, event, user_id, path, project, json.dumps(payload)],
        )
        return str(identifier)

    return insert


@pytest.fixture
def events(connection: psycopg.Connection) -> list[Event]:
    """Random events, stored in the test's database."""
    made = random_events(Random(7))
    store(connection, made)
    return made


@pytest.fixture
def api(database_url: str) -> Iterator[GraphqlHandler]:
    """The function behind `/graphql`, reading from PostgreSQL."""
    with built(database_url) as handler:
        yield handler


@pytest.fixture(params=["postgresql", "clickhouse"])
def store_name(request: pytest.FixtureRequest) -> str:
    """The store that the API reads from; `rollups` for a ClickHouse with the rollups of all days."""
    return str(request.param)


@pytest.fixture
def bring(
    request: pytest.FixtureRequest,
    store_name: str,
    api: GraphqlHandler,
    database_url: str,
    administration: psycopg.Connection,
) -> Callable[[], Any]:
    """Returns a function that makes the API read from one store, and first copies PostgreSQL's events to that store.

    Nothing is copied if nothing was written since.
    """
    if store_name == "postgresql":
        return lambda: None
    url = request.getfixturevalue("clickhouse_url")
    sync, rollups = Sync(database_url, url), Rollups(database_url, url, rebuild_seconds=0)
    sync.run(SYNC_SECONDS)
    api.stores = StoreRouter(api.database, url)
    brought: object = None

    def bring() -> None:
        nonlocal brought
        if brought == _end_of_log(administration):
            return
        sync.run(SYNC_SECONDS)
        if store_name == "rollups":
            rollups.run(SYNC_SECONDS)
        brought = _end_of_log(administration)

    return bring


def _end_of_log(administration: psycopg.Connection) -> object:
    """Returns where the log of PostgreSQL's server ends; whatever is written in any database moves it."""
    return administration.execute("SELECT pg_current_wal_insert_lsn()").fetchone()


class BroughtHandler(GraphqlHandler):
    """A handler that copies PostgreSQL's events to the store that it reads before each request."""

    bring: Callable[[], Any]

    def __call__(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        self.bring()
        return super().__call__(event, context)


@pytest.fixture
def either(api: GraphqlHandler, bring: Callable[[], Any]) -> GraphqlHandler:
    """The API, once on each store, with PostgreSQL's events copied before each request."""
    either = BroughtHandler(**{part.name: getattr(api, part.name) for part in fields(api)})
    either.bring = bring
    return either


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[PayloadStores]:
    """Both stores, for payloads."""
    with open_stores(database_url, clickhouse_url) as stores:
        yield stores


@pytest.fixture
def ways(database_url: str) -> Iterator[WaysIn]:
    """HTTPS and the queue as ways into the test's database."""
    with ways_in(database_url) as ways:
        yield ways


@pytest.fixture
def query(database_url: str) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Returns a function that runs SQL in the test's database and returns the rows as dicts."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield lambda statement, *values: connection.execute(statement, values).fetchall()


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    """Shares one boto3 session, because reading the service descriptions takes longer than the tests' calls."""
    return boto3.Session()


@pytest.fixture
def aws(boto_session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty AWS account of moto."""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    with mock_aws(), patch.object(boto3, "DEFAULT_SESSION", boto_session):
        yield


@pytest.fixture
def queues(aws: None) -> Queues:
    """A queue with its dead-letter queue."""
    return Queues()
