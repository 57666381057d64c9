"""Pages of events through GraphQL, against SQL with the same result, and against other pages."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from tests.bench.api import Api, Variables
from tests.bench.dataset import Dataset, dataset
from tests.bench.measure import Measurement, by_turns, clocked_by_turns, seconds_of, times
from tests.bench.postgraphile_server import running_postgraphile

TURNS = 60
WARM_UP = 10
PAGE_SIZE = 100
DEEP_PAGE = 1_000
STRIDE = 900  # events a request on the way to the deep page

ROOT = "9/"
MIDDLE = "9/130/"
LEAF = "9/130/1304/"
USER = 4_711

NODES = "nodes { id timestamp event user { id username } namespacePath payload } pageInfo { hasNextPage endCursor }"
VARIABLES = "$path: ID!, $start: Date, $end: Date, $first: Int, $after: String"
PAGE = f"""
    query ({VARIABLES}) {{
        namespace(fullPath: $path) {{
            aiUsageData {{ all(startDate: $start, endDate: $end, first: $first, after: $after) {{ {NODES} }} }}
        }}
    }}
"""
CURSOR = PAGE.replace(NODES, "pageInfo { endCursor }")
OF_USER = f"""
    query ($user: ID!, $start: Date, $end: Date, $first: Int) {{
        aiInstanceUsageData {{ all(startDate: $start, endDate: $end, userIds: [$user], first: $first) {{ {NODES} }} }}
    }}
"""

SELECT = """
    SELECT events.id, events.timestamp, events.event, events.user_id, users.username, events.namespace_path,
           events.payload::text
"""
WITHIN_PERIOD = "timestamp >= %(start)s AND timestamp < %(end)s"
NEWEST = f"ORDER BY timestamp DESC, id DESC LIMIT {PAGE_SIZE + 1}"
OF_ROOT_SQL = f"""
    {SELECT}
    FROM (
        SELECT *
        FROM ai_usage_events
        WHERE {WITHIN_PERIOD} AND namespace_path >= '9/' AND namespace_path < '90'
        {NEWEST}
    ) AS events
    LEFT JOIN users ON users.id = events.user_id
    ORDER BY events.timestamp DESC, events.id DESC
"""
OF_MIDDLE_SQL = f"""
    {SELECT}
    FROM (
        SELECT events.*
        FROM namespaces
        CROSS JOIN LATERAL (
            SELECT * FROM ai_usage_events WHERE {WITHIN_PERIOD} AND namespace_path = namespaces.path {NEWEST}
        ) AS events
        WHERE namespaces.path >= '9/130/' AND namespaces.path < '9/1300'
        {NEWEST}
    ) AS events
    LEFT JOIN users ON users.id = events.user_id
    ORDER BY events.timestamp DESC, events.id DESC
"""
OF_LEAF_SQL = f"""
    {SELECT}
    FROM (
        SELECT * FROM ai_usage_events WHERE {WITHIN_PERIOD} AND namespace_path = '{LEAF}' {NEWEST}
    ) AS events
    LEFT JOIN users ON users.id = events.user_id
    ORDER BY events.timestamp DESC, events.id DESC
"""
OF_USER_SQL = f"""
    {SELECT}
    FROM (SELECT * FROM ai_usage_events WHERE {WITHIN_PERIOD} AND user_id = {USER} {NEWEST}) AS events
    LEFT JOIN users ON users.id = events.user_id
    ORDER BY events.timestamp DESC, events.id DESC
"""

MANY = 1_000
OF_MANY = f"""
    query ({VARIABLES}) {{
        namespace(fullPath: $path) {{
            aiUsageData {{
                all: codeSuggestionEvents(startDate: $start, endDate: $end, first: $first, after: $after) {{
                    nodes {{
                        id timestamp event user {{ id username }} namespacePath uniqueTrackingId suggestionSize language
                        branchName ideName ideVersion extensionVersion modelName
                    }}
                    pageInfo {{ hasNextPage endCursor }}
                }}
            }}
        }}
    }}
"""
OF_MANY_SQL = f"""
    SELECT events.id, events.timestamp, events.event, events.user_id, users.username, events.namespace_path,
           payload ->> 'unique_tracking_id', (payload ->> 'suggestion_size')::bigint, payload ->> 'language',
           payload ->> 'branch_name', payload ->> 'ide_name', payload ->> 'ide_version',
           payload ->> 'extension_version', payload ->> 'model_name'
    FROM (
        SELECT *
        FROM ai_usage_events
        WHERE {WITHIN_PERIOD} AND namespace_path >= '9/' AND namespace_path < '90' AND event BETWEEN 1 AND 5
        ORDER BY timestamp DESC, id DESC LIMIT {MANY + 1}
    ) AS events
    LEFT JOIN users ON users.id = events.user_id
    ORDER BY events.timestamp DESC, events.id DESC
"""


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `page_…` on PostgreSQL."""
    with (
        dataset(folder) as made,
        closing(Api(made.large)) as api,
        closing(Api(made.small)) as small_api,
        psycopg.connect(made.large, autocommit=True) as connection,
    ):
        yield from _pages(made, api, connection)
        yield _deep(made, api)
        yield _growth(made, api, small_api)
        yield _postgraphile(made, api, folder.with_name("postgraphile"))


def _pages(dataset: Dataset, api: Api, connection: psycopg.Connection) -> Iterator[Measurement]:
    """Measures pages of events against SQL whose rows are encoded as JSON."""
    period = _period(dataset)
    values = {
        "start": datetime.combine(dataset.first_day, time(), UTC),
        "end": datetime.combine(dataset.last_day + timedelta(days=1), time(), UTC),
    }
    for name, query, variables, statement in (
        ("page_root", PAGE, {"path": ROOT}, OF_ROOT_SQL),
        ("page_mid", PAGE, {"path": MIDDLE}, OF_MIDDLE_SQL),
        ("page_leaf", PAGE, {"path": LEAF}, OF_LEAF_SQL),
        ("page_user", OF_USER, {"user": str(USER)}, OF_USER_SQL),
        ("page_1000", OF_MANY, {"path": ROOT, "first": MANY}, OF_MANY_SQL),
    ):
        bare = partial(_bare, connection, statement, values)
        rows = msgspec.json.decode(bare())
        nodes = _connection(api.ask(query, period | variables))["nodes"]
        size = (period | variables)["first"]
        if len(nodes) != size or [node["id"] for node in nodes] != [row[0] for row in rows[:size]]:
            raise RuntimeError(f"{name} has other events than the SQL")
        own, others = by_turns(TURNS, WARM_UP, api.request(query, period | variables), bare)
        yield times(name, own, others)


def _bare(connection: psycopg.Connection, statement: Any, values: Variables) -> bytes:
    # Never as a prepared statement, whose plan would be a slower one for all values.
    return msgspec.json.encode(connection.execute(statement, values, prepare=False).fetchall())


def _deep(dataset: Dataset, api: Api) -> Measurement:
    """Measures a page after many others against the first page."""
    first = _period(dataset) | {"path": ROOT}
    after = None
    for _ in range((DEEP_PAGE - 1) * PAGE_SIZE // STRIDE):
        after = _connection(api.ask(CURSOR, first | {"first": STRIDE, "after": after}))["pageInfo"]["endCursor"]
    deep = first | {"after": after}
    api.ask(PAGE, deep)
    own, others = by_turns(TURNS, WARM_UP, api.request(PAGE, deep), api.request(PAGE, first))
    return times("page_deep", own, others)


def _growth(dataset: Dataset, api: Api, small_api: Api) -> Measurement:
    """Measures a page among many stored events against a page among few."""
    variables = _period(dataset) | {"path": ROOT}
    for one in (api, small_api):
        one.ask(PAGE, variables)
    own, others = by_turns(TURNS, WARM_UP, api.request(PAGE, variables), small_api.request(PAGE, variables))
    return times("page_growth", own, others)


def _postgraphile(dataset: Dataset, api: Api, folder: Path) -> Measurement:
    """Measures a user's newest events, without the name, against PostGraphile; each within its own process."""
    variables = _period(dataset) | {"user": str(USER)}
    query = OF_USER.replace("user { id username }", "user { id }")
    nodes = _connection(api.ask(query, variables))["nodes"]
    with running_postgraphile(folder, dataset.large, USER, PAGE_SIZE) as postgraphile:
        if [node["id"] for node in nodes] != [node["rowId"] for node in postgraphile.nodes]:
            raise RuntimeError("PostGraphile answers with other events")
        own = partial(seconds_of, api.request(query, variables))
        return times("page_vs_postgraphile", *clocked_by_turns(TURNS, WARM_UP, own, postgraphile.seconds))


def _period(dataset: Dataset) -> Variables:
    return {"start": str(dataset.first_day), "end": str(dataset.last_day), "first": PAGE_SIZE}


def _connection(data: Any) -> Any:
    """Returns the Relay connection in an answer to one of the page queries."""
    usage = data["aiInstanceUsageData"] if "aiInstanceUsageData" in data else data["namespace"]["aiUsageData"]
    return usage["all"]
