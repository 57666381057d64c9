"""Queries that would take the most memory to answer, over events as large as PostgreSQL may hold.

`python -m tests.support.worst_queries DATABASE_URL CLICKHOUSE_URL` answers the queries one by one, and prints a line
for each: its status, its first error if there is one, and the highest memory of the process by then, in MB. An empty
`CLICKHOUSE_URL` answers from PostgreSQL.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg

from functions.graphql.handler import GraphqlHandler, build
from functions.shared.grant import EVERYTHING, READ
from functions.shared.settings import AuthSettings
from infra.operations.token import sign
from tests.support.process_memory import Outcome, outcomes_of, print_outcome

MAX_GRAPHQL_MEGABYTES = 400
EVENTS = 2_000
SECRET = "a secret of thirty-two characters, at least"

_MAX_PAYLOAD_BYTES = 16 * 1024 - 500
_CHAT, _SHOWN = 6, 2
_PAGE_TOO_LARGE = "200 The payloads of a page have more than"
_TOO_LARGE = "200 The answer has more than"


class WorstQuery(NamedTuple):
    """A query, and how its right answer begins."""

    text: str
    answer: str = _TOO_LARGE


def _events(selection: str, first: int = 1_000, field: str = "all") -> str:
    return f"aiInstanceUsageData {{ {field}(startDate: $start, first: {first}) {{ {selection} }} }}"


def _query(selection: str) -> str:
    return f"query ($start: Date) {{ {selection} }}"


def _repeated(selection: str, times: int) -> str:
    return " ".join(f"a{number}: {selection}" for number in range(times))


_DEEP_PATHS = [".".join(["a"] * steps) for steps in range(1, 31)]

WORST_QUERIES: Mapping[str, WorstQuery] = {
    "a page of small fields": WorstQuery(_query(_events("nodes { id event user { username } }")), "200 data"),
    "pages of whole payloads": WorstQuery(_query(_repeated(_events("nodes { payload }"), 10))),
    "a page with each payload many times": WorstQuery(_query(_events(f"nodes {{ {_repeated('payload', 49)} }}"))),
    "edges and nodes of whole payloads": WorstQuery(
        _query(_events("nodes { payload } edges { cursor node { payload } }"))
    ),
    "a page with a long text many times": WorstQuery(
        _query(_events(f"nodes {{ {_repeated('language', 49)} }}", field="codeSuggestionEvents"))
    ),
    "a page of values within values": WorstQuery(
        _query(_events(f"nodes {{ payload(paths: {json.dumps(_DEEP_PATHS)}) }}")), _PAGE_TOO_LARGE
    ),
    "a page of values within values, each apart": WorstQuery(
        _query(
            _events(
                "nodes {{ {} }}".format(
                    " ".join(f'p{n}: payload(paths: ["{path}"])' for n, path in enumerate(_DEEP_PATHS))
                )
            )
        ),
        _PAGE_TOO_LARGE,
    ),
    "groups by long texts": WorstQuery(
        _query(
            _repeated('aiInstanceUsage(startDate: $start, payloadGroupBy: ["language"], first: 1000) { payload }', 10)
        )
    ),
    "groups with each long text many times": WorstQuery(
        _query(
            'aiInstanceUsage(startDate: $start, payloadGroupBy: ["language"], first: 1000)'
            f"{{ {_repeated('payload', 49)} }}"
        )
    ),
    "as many small nodes as are allowed": WorstQuery(
        _query(_repeated(_events("nodes { id nodeId timestamp event user { id nodeId username } namespacePath }"), 10)),
        "200 data",
    ),
    "groups of as many users as are allowed": WorstQuery(
        _query(
            _repeated(
                "aiInstanceUsage(startDate: $start, groupBy: [USER], first: 1000) {"
                " user { id nodeId username } totalCount usersCount featuresCount returningUsersCount }",
                10,
            )
        ),
        "200 data",
    ),
}


def insert_large_events(connection: psycopg.Connection, newest: datetime) -> None:
    """Inserts events, each with as large a payload as an event may have: a long text, a deep object or a long list."""
    rows = []
    for number in range(EVENTS):
        event, payload = _large_payload(number)
        rows.append((newest - timedelta(seconds=number), event, number, json.dumps(payload)))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
            " VALUES (gen_random_uuid(), %s, %s, %s, %s)",
            rows,
        )


def _large_payload(number: int) -> tuple[int, dict[str, object]]:
    """Returns the id of an event type, and a payload."""
    match number % 3:
        case 0:
            return _SHOWN, {"language": f"{number:06}" + "x" * (_MAX_PAYLOAD_BYTES - 100)}
        case 1:
            deep: dict[str, object] = {"a": "x" * (_MAX_PAYLOAD_BYTES - 500)}
            for _ in range(50):
                deep = {"a": deep}
            return _CHAT, {"number": number, **deep}
        case _:
            return _CHAT, {"number": number, "list": [{}] * (_MAX_PAYLOAD_BYTES // 4)}


def answer_worst_queries(database_url: str, clickhouse_url: str = "") -> list[Outcome]:
    """Answers all queries by one GraphQL function in a process of its own, as Lambda would."""
    return outcomes_of(__name__, WORST_QUERIES, database_url, clickhouse_url)


def _answer(handler: GraphqlHandler, query: str, headers: Mapping[str, str]) -> str:
    start = (datetime.now(UTC) - timedelta(days=60)).date().isoformat()
    body = json.dumps({"query": query, "variables": {"start": start}})
    response = handler({"httpMethod": "POST", "headers": headers, "body": body, "isBase64Encoded": False}, None)
    answer = json.loads(response["body"])
    return f"{response['statusCode']} {answer['errors'][0]['message'] if 'errors' in answer else 'data'}"


def _main(database_url: str, clickhouse_url: str) -> None:
    handler = build(
        auth=AuthSettings(secret=SECRET),
        database_url=database_url,
        clickhouse_url=clickhouse_url or None,
        log_level="CRITICAL",
    )
    token = sign(SECRET, "1", [READ], [EVERYTHING], timedelta(hours=1))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for query in WORST_QUERIES.values():
        print_outcome(_answer(handler, query.text, headers))


if __name__ == "__main__":
    _main(*sys.argv[1:])
