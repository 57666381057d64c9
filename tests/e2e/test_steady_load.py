"""Steady load, for an hour in `make soak`: everything is stored, memory and times stay flat."""

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial

import httpx

from functions.shared.catalog import registry
from infra.operations.load import Load
from infra.operations.load.watch import PostgresWatch
from tests.conftest import TOTALS
from tests.e2e.conftest import Stack
from tests.e2e.use import eventually
from tests.support import plain_http
from tests.support.checkout import ROOT
from tests.support.steady_load import FUNCTIONS, Watched, grown, growth, write

IS_SOAK = bool(os.environ.get("SOAK"))
RATE = 50  # events a second
SECONDS = 3600 if IS_SOAK else 20
PART_SECONDS = 60 if IS_SOAK else 5
QUERY_SECONDS = 2
PRODUCERS = 4
USERS = 200
START_SECONDS = 300
WAIT_SECONDS = 300
TABLE = ROOT / ".local" / "steady_load.csv"

# A metric would read more and more events, so that its time would rightly grow.
NEWEST = "{ aiInstanceUsageData { all(first: 20) { nodes { id timestamp event payload user { username } } } } }"


def is_answered(stack: Stack) -> bool:
    """Asks GraphQL for the newest events; returns whether the answer is whole."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    try:
        response = plain_http.post(f"{stack.api_url}/graphql", json={"query": NEWEST}, headers=headers, timeout=60)
    except httpx.TransportError:
        return False
    return response.status_code == 200 and "errors" not in response.json()


def test_steady_load_is_stored_whole_and_leaves_memory_and_times_flat(
    with_clickhouse: Stack, record_property: Callable[[str, str], None]
) -> None:
    stack = with_clickhouse
    watched = Watched(
        stack.process_id, partial(is_answered, stack), SECONDS // PART_SECONDS, PART_SECONDS, QUERY_SECONDS
    )
    eventually(lambda: is_answered(stack), wanted=True, seconds=START_SECONDS)
    headers = {"Authorization": f"Bearer {stack.token}"}
    with (
        plain_http.client(headers=headers, timeout=60) as client,
        closing(PostgresWatch(stack.database_url)) as watch,
        closing(watched),
    ):
        load = Load(client, f"{stack.api_url}/v1/events", RATE, SECONDS, PRODUCERS, USERS, WAIT_SECONDS)
        figures = load.run(registry.load(), watch, watched)
    rows, total = watched.rows(figures), figures.total()
    write(TABLE, rows)
    curves = ", ".join(
        f"{name} {before:.0f} to {after:.0f} MB" for name in FUNCTIONS for before, after in [growth(rows, name)]
    )
    record_property(
        TOTALS,
        f"{total.accepted} events at {RATE} a second, all stored; {curves}; "
        + "; ".join(figures.lines(SECONDS, watch.name))
        + f"; {TABLE.relative_to(ROOT)} has the curve",
    )
    assert (total.refused, total.failed, total.rejected, total.on_the_way) == (0, 0, 0, 0), figures.reasons
    assert total.accepted == RATE * SECONDS - figures.unsent > 0
    if IS_SOAK:
        assert all(growth(rows, name)[1] > 0 for name in FUNCTIONS)
        assert watched.unanswered.total() <= SECONDS / QUERY_SECONDS / 100
        assert grown(rows) == []
