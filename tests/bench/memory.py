"""The highest memory of the functions for the worst of what may reach them, against what they may take."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tests.bench.engines import database, postgres_server
from tests.bench.measure import Measurement, against
from tests.support.worst_batches import MAX_CONSUMER_MEGABYTES, consume_worst_batches
from tests.support.worst_bodies import MAX_INGEST_MEGABYTES, post_worst_bodies
from tests.support.worst_queries import MAX_GRAPHQL_MEGABYTES, answer_worst_queries, insert_large_events


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `memory_…` of the ingest function, the consumer and the GraphQL function, the last on PostgreSQL."""
    bodies = folder / "memory" / "bodies"
    bodies.mkdir(parents=True, exist_ok=True)
    peak = max(outcome.megabytes for outcome in post_worst_bodies(bodies))
    yield against("memory_ingest", round(peak), "MB", MAX_INGEST_MEGABYTES)
    with postgres_server(folder / "memory") as server:
        peak = max(outcome.megabytes for outcome in consume_worst_batches(database(server, "consumed")))
        yield against("memory_consumer", round(peak), "MB", MAX_CONSUMER_MEGABYTES)
        read = database(server, "read")
        with psycopg.connect(read, autocommit=True) as connection:
            insert_large_events(connection, datetime.now(UTC))
        peak = max(outcome.megabytes for outcome in answer_worst_queries(read))
        yield against("memory_graphql", round(peak), "MB", MAX_GRAPHQL_MEGABYTES)
