"""Two databases of PostgreSQL, one that is lost and one that is refilled, and a ClickHouse."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import clickhouse
from functions.sync.analysis import Analysis
from functions.sync.kept_directory import TABLES
from functions.sync.sync import Sync
from infra.operations.verify import Verification
from tests.conftest import TEMPLATE
from tests.support.clock import NOW

SECONDS = 60

_OWN_IN_EACH_DATABASE = frozenset({"sync_state", "refills", "namespace_moves"})
"""Tables that hold transaction numbers, which differ from server to server."""

_ROWS = sql.SQL("SELECT to_jsonb(kept)::text FROM {} AS kept ORDER BY 1")


@contextmanager
def another_database(url: str) -> Iterator[str]:
    """Makes a database that is migrated and empty, on the server of the one at the URL."""
    with _copied(url, TEMPLATE, "refilled") as other_url:
        with psycopg.connect(other_url, autocommit=True) as connection:
            connection.execute("UPDATE directory_origin SET id = %s", [uuid4()])
        yield other_url


@contextmanager
def put_back_later(url: str) -> Iterator[str]:
    """Makes a copy of the database at the URL, which is the database when it is put back to the present moment."""
    with _copied(url, url.rpartition("/")[2], "put_back") as other_url:
        yield other_url


@contextmanager
def _copied(url: str, template: str, suffix: str) -> Iterator[str]:
    server, _, name = url.rpartition("/")
    other = f"{name}_{suffix}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administration:
        identifiers = {"other": sql.Identifier(other), "template": sql.Identifier(template)}
        statement = sql.SQL("CREATE DATABASE {other} TEMPLATE {template} STRATEGY FILE_COPY").format(**identifiers)
        administration.execute(statement)
        try:
            yield f"{server}/{other}"
        finally:
            administration.execute(sql.SQL("DROP DATABASE {other} WITH (FORCE)").format(**identifiers))


def bring(database_url: str, clickhouse_url: str) -> None:
    """Copies events, directory and names to ClickHouse, as the sync function does."""
    Sync(database_url, clickhouse_url).run(SECONDS)
    Analysis(database_url, clickhouse_url).run(SECONDS)


def directory_of(connection: psycopg.Connection) -> dict[str, list[Any]]:
    """Returns all rows of the directory by table."""
    return {
        table.name: [
            json.loads(row) for (row,) in connection.execute(_ROWS.format(sql.Identifier(table.name))).fetchall()
        ]
        for table in TABLES
        if table.name not in _OWN_IN_EACH_DATABASE
    }


def differences(database_url: str, clickhouse_url: str) -> list[str]:
    """Returns what `usage-events verify` says of each month that differs."""
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        closing(clickhouse.connect(clickhouse_url, SECONDS)) as client,
    ):
        comparing = Verification(connection, client, None, NOW.date())
        found = [comparing.compare(month) for month in comparing.months()]
    return [line for one in found if one.count for line in one.lines()]


def kept_texts(client: Client) -> list[str]:
    """Returns every version of every row that ClickHouse keeps of a directory."""
    return sorted(text for (text,) in client.query("SELECT row FROM ai_usage_directory").result_rows)
