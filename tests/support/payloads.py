"""Payloads in both stores at once, and a plain model of payload filters."""

import operator
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.graphql.clickhouse import payload_sql as clickhouse_payload
from functions.graphql.postgres import payload_sql as postgres_payload
from functions.graphql.query.conditions import (
    AllOf,
    AnyOf,
    Compares,
    Condition,
    Contains,
    Differs,
    EqualsAny,
    Exists,
    Like,
    Not,
    PathCondition,
    StartsWith,
)
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import stored_number
from functions.graphql.types.filters import conditions
from functions.ingest.event.storable import normalised
from functions.ingest.payload_encoder import encode_payload
from functions.shared import clickhouse
from functions.shared.catalog.names import upper_snake_case
from functions.sync.sync import Sync

SECONDS = 60

_BARE = re.compile(r'[^.\[\]"]+')

_INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
    SELECT id, now(), 6, 1, payload FROM unnest(%s::uuid[], %s::jsonb[]) AS given (id, payload)
"""
_POSTGRES_IDS = sql.SQL("SELECT id FROM ai_usage_events AS events WHERE {}")
_CLICKHOUSE_IDS = "SELECT id FROM ai_usage_events FINAL WHERE {}"
_POSTGRES_VALUES = sql.SQL("SELECT id, {} FROM ai_usage_events AS events")
_CLICKHOUSE_VALUES = "SELECT id, {} FROM ai_usage_events FINAL"


class PayloadStores:
    """PostgreSQL, and ClickHouse as a copy of it."""

    def __init__(self, connection: psycopg.Connection, sync: Sync, client: Client) -> None:
        self.connection = connection
        self.sync = sync
        self.client = client

    @property
    def declared(self) -> frozenset[tuple[str, ...]]:
        """The paths with columns of their own in ClickHouse."""
        return clickhouse.declared_paths(self.client)

    def store(self, payloads: Sequence[dict[str, Any]]) -> list[UUID]:
        """Replaces all payloads, as the consumer stores them, and returns their ids."""
        return self.store_texts([encode_payload(normalised(payload)).decode() for payload in payloads])

    def store_texts(self, texts: Sequence[str]) -> list[UUID]:
        """Replaces all payloads with plain SQL, and returns their ids."""
        ids = [uuid4() for _ in texts]
        self.connection.execute("TRUNCATE ai_usage_events")
        self.client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")
        self.connection.execute(_INSERT, [ids, list(texts)])
        report = self.sync.run(SECONDS)
        assert (report.refused, report.rows) == (0, len(ids))
        return ids

    def in_postgres(self, conditions: Sequence[Condition]) -> set[UUID]:
        """Returns the ids of the payloads in PostgreSQL that fulfil all conditions."""
        values: dict[str, Any] = {}
        parts = [postgres_payload.condition(condition, values) for condition in conditions]
        statement = _POSTGRES_IDS.format(sql.SQL(" AND ").join(parts))
        return {identifier for (identifier,) in self.connection.execute(statement, values)}

    def in_clickhouse(self, conditions: Sequence[Condition]) -> set[UUID]:
        """Returns the ids of the payloads in ClickHouse that fulfil all conditions."""
        values: dict[str, Any] = {}
        parts = [clickhouse_payload.condition(condition, values, self.declared) for condition in conditions]
        statement = _CLICKHOUSE_IDS.format(" AND ".join(parts))
        rows = self.client.query(statement, parameters=values, settings=clickhouse_payload.SETTINGS).result_rows
        return {identifier for (identifier,) in rows}

    def postgres_values(self, expressions: Sequence[sql.Composable], values: dict[str, Any]) -> dict[UUID, Any]:
        """Returns the values of the expressions for each payload in PostgreSQL."""
        statement = _POSTGRES_VALUES.format(sql.SQL(", ").join(expressions))
        return {row[0]: row[1:] for row in self.connection.execute(statement, values)}

    def clickhouse_values(self, expressions: Sequence[str], values: dict[str, Any]) -> dict[UUID, Any]:
        """Returns the values of the expressions for each payload in ClickHouse."""
        statement = _CLICKHOUSE_VALUES.format(", ".join(expressions))
        rows = self.client.query(statement, parameters=values, settings=clickhouse_payload.SETTINGS).result_rows
        return {row[0]: tuple(row[1:]) for row in rows}


@contextmanager
def open_stores(database_url: str, clickhouse_url: str) -> Iterator[PayloadStores]:
    """Yields both stores, empty."""
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        closing(clickhouse.connect(clickhouse_url, SECONDS)) as client,
    ):
        yield PayloadStores(connection, Sync(database_url, clickhouse_url), client)


def value_at(payload: Any, path: Path) -> Any:
    """Returns the value at the path; None if there is none, or null."""
    for step in path:
        if isinstance(step, str) and isinstance(payload, dict):
            payload = payload.get(step)
        elif isinstance(step, int) and isinstance(payload, list) and step < len(payload):
            payload = payload[step]
        else:
            return None
    return payload


def conditions_of(filters: Sequence[dict[str, Any]]) -> tuple[Condition, ...]:
    """Returns the conditions of filters that are written as in GraphQL."""
    return conditions([_as_resolved(each) for each in filters])


def _as_resolved(value: Any) -> Any:
    """Returns an input with its keys in snake_case, as resolvers get it."""
    if isinstance(value, list):
        return [_as_resolved(item) for item in value]
    if isinstance(value, dict):
        return {upper_snake_case(key).lower(): _as_resolved(item) for key, item in value.items()}
    return value


def fulfils(payload: dict[str, Any], condition: Condition) -> bool:
    """Whether a normalised payload fulfils a condition."""
    match condition:
        case Not(inner):
            return not fulfils(payload, inner)
        case AnyOf(inner):
            return any(fulfils(payload, each) for each in inner)
        case AllOf(inner):
            return all(fulfils(payload, each) for each in inner)
    return _fulfils_at_path(payload, condition)


def _fulfils_at_path(payload: dict[str, Any], condition: PathCondition) -> bool:
    value = value_at(payload, condition.path)
    match condition:
        case Exists(_, exists):
            return (value is not None) == exists
        case EqualsAny(_, operands):
            return comparable(value) in map(comparable, operands)
        case Differs(_, operand):
            return value is not None and comparable(value) != comparable(operand)
        case Compares(_, ordering, operand):
            compare = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}[ordering]
            left, right = comparable(value), comparable(operand)
            return left[0] == right[0] and bool(compare(left[1], right[1]))
        case Like(_, pattern):
            return isinstance(value, str) and re.fullmatch(_as_expression(pattern), value, re.DOTALL) is not None
        case StartsWith(_, prefix):
            return isinstance(value, str) and value.startswith(prefix)
        case Contains(_, operand):
            return isinstance(value, list) and comparable(operand) in map(comparable, value)


def _as_expression(pattern: str) -> str:
    """Returns the regular expression that matches what a pattern of `like` does."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)


def comparable(value: Any) -> tuple[str, Any]:
    """Returns a scalar's kind and a value to compare within the kind; any other value unchanged."""
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "string", value.encode()
    if isinstance(value, int | float):
        return "number", stored_number(value)
    return "other", value


def write_path(path: Path) -> str:
    """Returns the text that `read_path` reads as this path."""
    first, *further = path
    return _written_key(first) + "".join(
        f"[{step}]" if isinstance(step, int) else f".{_written_key(step)}" for step in further
    )


def _written_key(key: str | int) -> str:
    return key if isinstance(key, str) and _BARE.fullmatch(key) else msgspec.json.encode(key).decode()
