"""GraphQL's queries leave the consumer what it needs, on a database whose roles a deployment made."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.support.clock import NOW
from tests.support.database_roles import Roles, database_roles
from tests.support.graphql import built, request
from tests.support.ways_in import ways_in

READERS, ASKING, BATCHES = 3, 6, 5
EVENTS = 200
SECONDS_OF_A_QUERY = 6
PAGE = f'{{ aiInstanceUsageData {{ all(startDate: "{NOW:%Y-%m-%d}", first: 1000) {{ nodes {{ id }} }} }} }}'
TOO_SLOW = "The query took too long: ask for fewer days, events or namespaces."
UNREACHABLE = "The database can't be reached; try again."
AT_WORK = "SELECT pid, query_start FROM pg_stat_activity WHERE usename = %s AND state = 'active' ORDER BY pid"

# Reading a row takes the reader a tenth of a second, and the writer no time.
SLOW_ROWS = """
    ALTER ROLE {writer} BYPASSRLS;
    ALTER TABLE ai_usage_events ENABLE ROW LEVEL SECURITY;
    CREATE POLICY slow ON ai_usage_events FOR SELECT TO {reader} USING (pg_sleep(0.1)::text = '');
"""


@pytest.fixture
def roles(postgres_server: str) -> Iterator[Roles]:
    with database_roles(postgres_server) as roles:
        yield roles


@contextmanager
def slow_queries(roles: Roles) -> Iterator[set[str]]:
    """Sends slow queries, more at once than readers may have connections, while the block runs; yields the errors."""
    told, is_over = set[str](), Event()

    def ask() -> None:
        with built(roles.reader) as handler:
            handler.max_seconds = SECONDS_OF_A_QUERY
            while not is_over.is_set():
                _, answer = request(handler, {"query": PAGE})
                told.update(error["message"].partition(" The log")[0] for error in answer["errors"])

    with ThreadPoolExecutor(ASKING) as pool:
        asking = [pool.submit(ask) for _ in range(ASKING)]
        try:
            yield told
        finally:
            is_over.set()
            for one in asking:
                one.result()


def batch(number: int) -> str:
    """Returns a message with events of their own."""
    return json.dumps(
        [
            {"event": "request_duo_chat_response", "timestamp": NOW.isoformat(), "user_id": user + 1}
            for user in range(EVENTS * number, EVENTS * (number + 1))
        ]
    )


def test_batches_are_stored_while_slow_queries_hold_all_connections_of_readers(
    roles: Roles, administration: psycopg.Connection, postgres_server: str
) -> None:
    roles.migrate(readers=READERS)
    reader, writer = (str(urlsplit(url).username) for url in (roles.reader, roles.writer))
    names = {"reader": sql.Identifier(reader), "writer": sql.Identifier(writer)}
    database = f"{postgres_server.rpartition('/')[0]}/{roles.owner.rpartition('/')[2]}"
    with psycopg.connect(database, autocommit=True) as connection, ways_in(roles.writer) as ways:
        connection.execute(sql.SQL(SLOW_ROWS).format(**names))
        ways.consume(batch(0), message_id="first")

        def at_work() -> list[Any]:
            return connection.execute(AT_WORK, [reader]).fetchall()

        with slow_queries(roles) as told:
            did_not_wait = False
            for number in range(1, BATCHES + 1):
                while len(before := at_work()) < READERS:
                    time.sleep(0.01)
                assert ways.consume(batch(number), message_id=str(number)).stored == EVENTS
                did_not_wait |= at_work() == before
        assert did_not_wait  # for the same queries were still at work
    assert told == {TOO_SLOW, UNREACHABLE}
