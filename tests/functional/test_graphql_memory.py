"""Queries made to take memory are answered as any other, within the memory that the GraphQL function may take."""

import sys
from datetime import UTC, datetime

import psycopg
import pytest

from functions.sync.sync import Sync
from tests.support.worst_queries import (
    MAX_GRAPHQL_MEGABYTES,
    WORST_QUERIES,
    answer_worst_queries,
    insert_large_events,
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the bound is of Linux, whose peak the benchmark measures"
)


@pytest.mark.parametrize("store", ["postgresql", "clickhouse"])
def test_no_query_takes_more_memory_than_the_graphql_function_may(
    connection: psycopg.Connection, sync: Sync, database_url: str, clickhouse_url: str, store: str
) -> None:
    insert_large_events(connection, datetime.now(UTC))
    if store == "clickhouse":
        sync.run(600)
    outcomes = answer_worst_queries(database_url, clickhouse_url if store == "clickhouse" else "")
    for outcome in outcomes:
        print(outcome)
    assert [outcome for outcome in outcomes if not outcome.answer.startswith(WORST_QUERIES[outcome.name].answer)] == []
    assert max(outcome.megabytes for outcome in outcomes) <= MAX_GRAPHQL_MEGABYTES
