"""Copies the names that PostgreSQL has to small tables in ClickHouse, whole, whenever one of them has changed.

A copy is whole because its partition is then both what readers see at once and what an erasure drops without a trace.
With changed rows alone, erased names would lie in older parts until these are merged.
"""

import time
from collections.abc import Buffer, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.clickhouse import INSERT_SETTINGS, columns_of
from functions.shared.postgres import Connection
from functions.sync import migrations
from functions.sync.table import ONE_BLOCK_SETTINGS

PAUSES = 10
"""A table of names is looked at again after so many times the time that the last look or copy took."""

_DIGESTS = 2**64

# Counts what PostgreSQL has ever written to a table. A change is counted soon after it is committed, or never looked at
# again if the server crashes, which sets all counts back. Counts are off where they are all 0.
_WRITTEN = """
    SELECT n_tup_ins, n_tup_upd, n_tup_del, n_live_tup
    FROM pg_stat_all_tables
    WHERE relid = to_regclass(%s)
"""

_BYTES_AT_ONCE = 1024 * 1024

# All reads see one state of PostgreSQL, so that the digest is that of the copied rows.
_ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_DIGEST = sql.SQL("""
    SELECT count(*), coalesce(sum(hashtextextended(named::text, 0)), 0)
    FROM ({rows}) AS named
""")

_COPY = sql.SQL("COPY (SELECT {build}, {digest}::numeric, named.* FROM ({rows}) AS named) TO STDOUT")

_NEWEST = "SELECT build, any(digest), count() FROM {table} GROUP BY build ORDER BY build DESC"

_DROP = "ALTER TABLE {table} {on_cluster} DROP PARTITION {build}"


class NameTable(NamedTuple):
    """A table of names.

    Attributes:
        source: the table in PostgreSQL.
        columns: name and type of each column in ClickHouse.
        rows: statement that selects the columns in PostgreSQL.
    """

    table: str
    source: str
    columns: dict[str, str]
    rows: sql.SQL


TABLES = (
    NameTable(
        "ai_usage_event_types",
        "event_types",
        {"id": "UInt16", "name": "String", "feature": "String", "deprecated": "Bool"},
        sql.SQL("SELECT id, name, feature, deprecated::int FROM event_types"),
    ),
    NameTable(
        "ai_usage_users",
        "users",
        {"id": "UInt64", "username": "String"},
        sql.SQL("SELECT id, username FROM users WHERE username IS NOT NULL"),
    ),
    NameTable(
        "ai_usage_namespaces",
        "namespaces",
        {"path": "String", "id": "UInt64", "full_path": "String"},
        sql.SQL("SELECT path, id, coalesce(full_path, '') FROM namespaces"),
    ),
    NameTable(
        "ai_usage_projects",
        "projects",
        {"id": "UInt64", "namespace_path": "String", "full_path": "String"},
        sql.SQL("SELECT id, coalesce(namespace_path, ''), coalesce(full_path, '') FROM projects"),
    ),
)


class Look(NamedTuple):
    """What the last look at a table found.

    Attributes:
        written: what was written in PostgreSQL before; None if unknown.
        newest: newest build in ClickHouse, with its digest and its number of rows.
        again_at: monotonic time before which the table is not looked at again.
    """

    written: tuple[int, ...] | None
    newest: tuple[int, ...]
    again_at: float

    def still_holds(self, written: tuple[int, ...] | None, now: float) -> bool:
        """Whether nothing was written since, or it is too early to look again."""
        return now < self.again_at or (written is not None and written == self.written)


type Looks = dict[str, Look]
"""The last looks by table, which a process keeps. Without one, a table is compared with PostgreSQL's rows."""


def has_names(client: Client) -> bool:
    """Whether names were ever copied."""
    return any(columns_of(client, names.table) for names in TABLES)


def copy_names(connection: Connection, client: Client, cluster: str | None, looks: Looks | None = None) -> int:
    """Makes the tables hold what PostgreSQL has now; returns how many tables were copied anew.

    Requires the lock of the sync, so that no earlier state replaces a later one. A table is read at its highest build,
    which one insert brings as a whole.

    Args:
        connection: must have no open transaction.
        looks: spares reading names that have not changed; gets what this look finds.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error; the next call copies again.
    """
    return sum(_copy_changed(connection, client, cluster, table, {} if looks is None else looks) for table in TABLES)


def _copy_changed(connection: Connection, client: Client, cluster: str | None, names: NameTable, looks: Looks) -> bool:
    """Copies one table if it differs; returns whether it did."""
    if not columns_of(client, names.table):
        client.command(definition(names, cluster))
    start = time.monotonic()
    # In a transaction of its own: what is counted here must be visible to the one that reads the names.
    written = connection.execute(_WRITTEN, [names.source]).fetchone()
    known = written if written is not None and any(written) else None
    look = looks.get(names.table)
    if look is not None and look.newest == _newest(_builds(client, names)) and look.still_holds(known, start):
        return False
    with _one_state(connection):
        is_copied = _copy(connection, client, cluster, names)
    end = time.monotonic()
    looks[names.table] = Look(known, _newest(_builds(client, names)), end + PAUSES * (end - start))
    return is_copied


def _builds(client: Client, names: NameTable) -> list[tuple[int, ...]]:
    """The builds of a table, newest first, each with its digest and its number of rows."""
    return [tuple(map(int, row)) for row in client.query(_NEWEST.format(table=names.table)).result_rows]


def _newest(builds: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return builds[0] if builds else (0, 0, 0)


def _copy(connection: Connection, client: Client, cluster: str | None, names: NameTable) -> bool:
    row = connection.execute(_DIGEST.format(rows=names.rows)).fetchone()
    count, digest = (0, 0) if row is None else (int(row[0]), int(row[1]) % _DIGESTS)
    builds = _builds(client, names)
    newest, *found = _newest(builds)
    is_same = found == [digest, count]
    if not is_same and count:
        _insert(connection, client, names, newest + 1, digest)
    for build, *_ in builds[1:] if is_same else builds:
        on_cluster = migrations.on_cluster(cluster)
        client.command(_DROP.format(table=names.table, on_cluster=on_cluster, build=build))
    return not is_same


def definition(names: NameTable, cluster: str | None) -> str:
    """Returns the statement that creates a table of names."""
    return (
        (migrations.FOLDER / "ai_usage_names.sql")
        .read_text()
        .format(
            table=names.table,
            on_cluster=migrations.on_cluster(cluster),
            columns=", ".join(f"{name} {kind}" for name, kind in names.columns.items()),
            engine="ReplicatedMergeTree" if cluster else "MergeTree",
            key=next(iter(names.columns)),
        )
    )


def _insert(connection: Connection, client: Client, names: NameTable, build: int, digest: int) -> None:
    statement = _COPY.format(build=sql.Literal(build), digest=sql.Literal(str(digest)), rows=names.rows)
    settings = INSERT_SETTINGS | ONE_BLOCK_SETTINGS | {"insert_deduplication_token": str(uuid4())}
    with connection.cursor().copy(statement) as copy:
        client.raw_insert(
            names.table,
            ["build", "digest", *names.columns],
            _gathered(copy),
            settings=settings,
            fmt="TabSeparated",
        )


def _gathered(rows: Iterable[Buffer]) -> Generator[bytes]:
    """Yields the rows some thousands at a time: sent one by one, they take an insert's time."""
    gathered = bytearray()
    for row in rows:
        gathered += row
        if len(gathered) >= _BYTES_AT_ONCE:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute(_ONE_STATE)
        yield
