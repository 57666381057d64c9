"""Moves events of the months that only ClickHouse has, to where their namespaces and projects are now.

Whatever PostgreSQL still has comes by the sync. A moved event is a row under its new key and a removed key under the
old one, in one block and so in one part: a reader sees either both or none.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import batched
from typing import Any, NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import INSERT_SETTINGS, TABLE, columns_of, target_of
from functions.shared.partitions import partitions
from functions.shared.postgres import Connection
from functions.shared.traversal_path import namespace_upper_bound
from functions.sync.changed_days import ChangedDays
from functions.sync.durability import make_durable
from functions.sync.places import Places
from functions.sync.table import ONE_BLOCK_SETTINGS
from functions.sync.turns import by_turns

ROWS_AT_ONCE = 200_000
"""About as many events move with one statement, but never less than a day of them."""

_PATHS_AT_ONCE = 100  # a statement's parameters are a part of its address

_MONTH = re.compile(r"[0-9]{6}$")

_PENDING = """
    SELECT number, kind, id, old_path, opened
    FROM namespace_moves AS move
    WHERE done_at IS NOT NULL
      AND NOT EXISTS (
          SELECT
          FROM namespace_moves_in_clickhouse AS done
          WHERE done.number = move.number AND done.target = %(target)s AND done.opened = move.opened
      )
    ORDER BY number
"""

# `sync_state` has the tables that the sync knows.
_MAY_BE_PENDING = """
    SELECT EXISTS (
        SELECT
        FROM namespace_moves AS move
        CROSS JOIN sync_state
        WHERE move.done_at IS NOT NULL
          AND NOT EXISTS (
              SELECT
              FROM namespace_moves_in_clickhouse AS done
              WHERE done.number = move.number AND done.target = sync_state.target AND done.opened = move.opened
          )
    )
"""

_DONE = """
    INSERT INTO namespace_moves_in_clickhouse (number, target, opened)
    VALUES (%(number)s, %(target)s, %(opened)s)
    ON CONFLICT (number, target) DO UPDATE SET opened = excluded.opened, done_at = excluded.done_at
"""

_MONTHS = """
    SELECT DISTINCT toUInt32(partition)
    FROM system.parts
    WHERE database = currentDatabase() AND table = {table:String} AND active
"""

_PATHS = """
    SELECT toDate(timestamp) AS day, namespace_path, project_id, count()
    FROM ai_usage_events FINAL
    WHERE namespace_path >= {path:String} AND namespace_path < {upper_bound:String}
      AND toYYYYMM(timestamp) = {month:UInt32}
      AND ({project:UInt64} = 0 OR project_id = {project:UInt64})
    GROUP BY day, namespace_path, project_id
    ORDER BY day
"""

# A removed key has no contents, as those of the sync. A version above the present one hides the row under the old key,
# and a removed key that an earlier move left under the new one.
_MOVE = """
    INSERT INTO ai_usage_events
        (id, timestamp, event, user_id, namespace_path, project_id, payload, version, is_deleted)
    SELECT id, timestamp, event, user_id, if(removed, namespace_path, place),
           if(removed, 0, project_id), if(removed, CAST('{}', 'JSON'), payload), version + 1, removed
    FROM (
        SELECT *, transform(
            concat(toString(project_id), ' ', namespace_path),
            {projects_and_paths:Array(String)},
            {places:Array(String)},
            ''
        ) AS place
        FROM ai_usage_events FINAL
        WHERE namespace_path IN {paths:Array(String)}
          AND timestamp >= toDateTime64({first:Date}, 6, 'UTC')
          AND timestamp < toDateTime64({last:Date} + 1, 6, 'UTC')
    )
    ARRAY JOIN [1, 0] AS removed
    WHERE place <> ''
"""

type Place = tuple[str, int]
"""Namespace path and project of events; 0 without a project."""


class PendingMove(NamedTuple):
    """A move that is done in PostgreSQL; see `functions.sync.moves.OpenMove`."""

    number: int
    kind: str
    id: int
    old_path: str
    opened: int


def move_in_clickhouse(
    connection: Connection, client: Client, require_time: Callable[[], None], *, durable: bool
) -> int:
    """Moves what only ClickHouse has, and returns the number of moved events. The caller holds the sync's lock.

    Args:
        require_time: called before each statement; raises if no time is left.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error; a repeated call continues.
    """
    target = target_of(client)
    if target is None or "version" not in columns_of(client, TABLE):
        return 0  # the sync makes or migrates the table
    make_durable(client, durable=durable)
    changed = ChangedDays(connection, target)
    moved = 0

    def carried_out(move: PendingMove) -> Iterator[None]:
        nonlocal moved
        for month in _months_of_clickhouse_only(connection, client):
            moved_now = -1
            while moved_now:  # until none of its events are elsewhere
                require_time()
                moved_now = 0
                for events in _move_month(move, month, Places(connection), client, require_time, changed):
                    moved_now += events
                    yield
                moved += moved_now
        connection.execute(_DONE, {"number": move.number, "target": str(target), "opened": move.opened})

    by_turns([PendingMove(*row) for row in connection.execute(_PENDING, {"target": str(target)})], carried_out)
    changed.confirm()
    return moved


def may_be_pending(connection: Connection) -> bool:
    """Whether a move may have left events in ClickHouse, according to PostgreSQL alone."""
    return connection.execute(_MAY_BE_PENDING).fetchone() == (True,)


def count_pending(connection: Connection, client: Client) -> int:
    """Returns the number of moves that may have left events in ClickHouse."""
    target = target_of(client)
    return 0 if target is None else len(connection.execute(_PENDING, {"target": str(target)}).fetchall())


def _months_of_clickhouse_only(connection: Connection, client: Client) -> list[int]:
    in_postgres = {int(found[0]) for name in partitions(connection) if (found := _MONTH.search(name))}
    rows = client.query(_MONTHS, parameters={"table": TABLE}).result_rows
    return sorted({month for (month,) in rows} - in_postgres)


def _move_month(
    move: PendingMove,
    month: int,
    places: Places,
    client: Client,
    require_time: Callable[[], None],
    changed: ChangedDays,
) -> Iterator[int]:
    """Moves all events of a month that are elsewhere, and yields their number portion by portion; none if none is."""
    is_project = move.kind == "project"
    values = {
        "path": move.old_path,
        "upper_bound": f"{move.old_path}\x01" if is_project else namespace_upper_bound(move.old_path),
        "project": move.id if is_project else 0,
        "month": month,
    }
    days: dict[date, dict[Place, tuple[str, int]]] = defaultdict(dict)
    for day, path, project, count in client.query(_PATHS, parameters=values).result_rows:
        place = places.of(path, project or None)
        if place != path:
            days[day][path, project] = place, count
    for some_days in _in_portions(days):
        found = {place: to for day in some_days for place, (to, _) in days[day].items()}
        for some in batched(found.items(), _PATHS_AT_ONCE, strict=False):
            require_time()
            changed.record(some_days)
            _move(some, some_days[0], some_days[-1], client)
        yield sum(count for day in some_days for _, count in days[day].values())


def _in_portions(days: dict[date, dict[Place, tuple[str, int]]]) -> Iterator[list[date]]:
    """Yields the days in portions of about `ROWS_AT_ONCE` events."""
    portion, rows = list[date](), 0
    for day, found in days.items():
        count = sum(count for _, count in found.values())
        if portion and rows + count > ROWS_AT_ONCE:
            yield portion
            portion, rows = [], 0
        portion.append(day)
        rows += count
    if portion:
        yield portion


def _move(places: Sequence[tuple[Place, str]], first: date, last: date, client: Client) -> None:
    values: dict[str, Any] = {
        "paths": [path for (path, _), _ in places],
        "projects_and_paths": [f"{project} {path}" for (path, project), _ in places],
        "places": [place for _, place in places],
        "first": first,
        "last": last,
    }
    settings = INSERT_SETTINGS | ONE_BLOCK_SETTINGS | {"max_threads": 1, "insert_deduplication_token": str(uuid4())}
    client.command(_MOVE, parameters=values, settings=settings)
