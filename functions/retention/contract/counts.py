"""Counts, by day, how many events there are and how many of them carry each declared key. Both stores count alike."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.catalog.payload_type import key_types, leaf_paths
from functions.shared.catalog.registry import Registry
from functions.shared.clickhouse import READ_SETTINGS, declared_paths
from functions.shared.payload_value import value_at
from functions.shared.postgres import Connection

type Path = tuple[str, ...]
"""Keys that lead to a value in the payload."""

type Declared = Mapping[Path, tuple[int, ...]]
"""Ids of the events that may carry a value at each path."""

_IN_POSTGRESQL = sql.SQL("""
    SELECT (timestamp AT TIME ZONE 'UTC')::date, event, count(*){carrying}
    FROM ai_usage_events
    WHERE timestamp >= %(start)s AND timestamp < %(end)s AND event = ANY(%(events)s::smallint[])
    GROUP BY 1, 2
""")

_CARRYING_IN_POSTGRESQL = sql.SQL(
    ", count(*) FILTER (WHERE event = ANY({events}::smallint[]) AND payload #> {path}::text[] IS NOT NULL)"
)

_IN_CLICKHOUSE = """
    SELECT toDate(timestamp, 'UTC'), event, count(){carrying}
    FROM ai_usage_events FINAL
    WHERE timestamp >= {{start:DateTime64(6, 'UTC')}} AND timestamp < {{end:DateTime64(6, 'UTC')}}
        AND event IN {{events:Array(UInt16)}}
    GROUP BY 1, 2
"""

_CARRYING_IN_CLICKHOUSE = ", countIf(event IN ({events}) AND {present})"


class Day(msgspec.Struct, frozen=True):
    """The events of one type on one day.

    Attributes:
        carrying: how many of them have a value at each path that they may have one at.
    """

    events: int
    carrying: Mapping[Path, int]


type Counts = Mapping[int, Mapping[date, Day]]
"""The days that have events, by the id of the event."""


def declared(registry: Registry) -> Declared:
    """Returns the declared paths that are not objects, with the events that may carry them now."""
    found: dict[Path, list[int]] = {}
    for event in registry.events.values():
        if event.payload_class is not None and not event.deprecated:
            for path in leaf_paths(key_types(event.payload_class)):
                found.setdefault(path, []).append(event.id)
    return {path: tuple(ids) for path, ids in sorted(found.items())}


def in_postgresql(connection: Connection, paths: Declared, events: Iterable[int], first: date, last: date) -> Counts:
    """Counts the events of the days from `first` to `last`, in UTC.

    Raises:
        psycopg.Error: PostgreSQL did not answer, or not in time.
    """
    values: dict[str, Any] = {"start": _midnight(first), "end": _midnight(last, 1), "events": list(events)}
    carrying = []
    for number, (path, ids) in enumerate(paths.items()):
        values |= {f"events_{number}": list(ids), f"path_{number}": list(path)}
        named = {"events": sql.Placeholder(f"events_{number}"), "path": sql.Placeholder(f"path_{number}")}
        carrying.append(_CARRYING_IN_POSTGRESQL.format(**named))
    statement = _IN_POSTGRESQL.format(carrying=sql.SQL("").join(carrying))
    return _counts(connection.execute(statement, values), paths)


def in_clickhouse(client: Client, paths: Declared, events: Iterable[int], first: date, last: date) -> Counts:
    """Counts likewise in ClickHouse.

    Raises:
        ClickHouseError: ClickHouse did not answer, or not in time.
    """
    values = {"start": _midnight(first), "end": _midnight(last, 1), "events": list(events)}
    with_column = declared_paths(client)
    carrying = "".join(
        _CARRYING_IN_CLICKHOUSE.format(events=", ".join(map(str, ids)), present=_present(path, with_column))
        for path, ids in paths.items()
    )
    statement = _IN_CLICKHOUSE.format(carrying=carrying)
    return _counts(client.query(statement, parameters=values, settings=READ_SETTINGS).result_rows, paths)


def _present(path: Path, with_column: frozenset[Path]) -> str:
    value = value_at(path, with_column)
    if value is None:
        raise AssertionError(f"a declared key is a plain name, not {path}")
    return value.present


def _counts(rows: Iterable[Any], paths: Declared) -> Counts:
    found: dict[int, dict[date, Day]] = {}
    for day, event, events, *carrying in rows:
        own = dict(_own(event, carrying, paths))
        found.setdefault(event, {})[day] = Day(events, own)
    return found


def _own(event: int, carrying: Iterable[int], paths: Declared) -> Iterator[tuple[Path, int]]:
    for (path, ids), number in zip(paths.items(), carrying, strict=True):
        if event in ids:
            yield path, number


def _midnight(day: date, later: int = 0) -> datetime:
    return datetime.combine(day + timedelta(days=later), time(), UTC)
