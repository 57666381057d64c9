"""Keeps a copy of PostgreSQL's directory in ClickHouse, from which a lost PostgreSQL is refilled.

Both stores have two hashes of each row: of its key, and of the whole row as JSON. Both add up the hashes of the rows in
each of 4,096 buckets. Only rows of buckets whose sums differ are read, and only rows that differ are copied.
"""

import time
from array import array
from bisect import bisect_left
from collections.abc import Buffer, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.clickhouse import INSERT_SETTINGS, columns_of, readable_target_of
from functions.shared.postgres import Connection
from functions.sync import marks, migrations

TABLE = "ai_usage_directory"

PAUSES = 10
"""A table is looked at again after so many times the time that the last look took."""

ORIGIN = "directory_origin"

_CHUNK_BYTES = 4 * 1024 * 1024

_HASHES = 2**64

_ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# See `functions.sync.known_names`: counts that are not all 0 tell whether anything was written since.
_WRITTEN = """
    SELECT n_tup_ins, n_tup_upd, n_tup_del, n_live_tup
    FROM pg_stat_all_tables
    WHERE relid = to_regclass(%s)
"""

# OFFSET keeps PostgreSQL from computing a hash again wherever it is used.
_ROWS = sql.SQL("""
    SELECT hashtextextended({key}, 0) AS key, hashtextextended(text, 0) AS hash, text
    FROM (SELECT {columns}, to_jsonb(kept)::text AS text FROM {table} AS kept OFFSET 0) AS kept
    OFFSET 0
""")

_POSTGRES_SUMS = sql.SQL("SELECT key & 4095, count(*), sum(hash) FROM ({rows}) AS hashed GROUP BY 1")

_CLICKHOUSE_SUMS = """
    SELECT bitAnd(key, 4095) AS bucket, count(), sum(hash)
    FROM ai_usage_directory FINAL
    WHERE source = {source:String}
    GROUP BY bucket
"""

_CLICKHOUSE_HASHES = """
    SELECT key, hash
    FROM ai_usage_directory FINAL
    WHERE source = {source:String} AND has({buckets:Array(Int64)}, bitAnd(key, 4095))
    ORDER BY key
"""

_COPY = sql.SQL("""
    COPY (
        SELECT key, hash, {source}, {version}::bigint, 0, text
        FROM ({rows}) AS hashed
        WHERE key & 4095 = ANY({buckets}::bigint[])
    ) TO STDOUT
""")

_COLUMNS = ["key", "hash", "source", "version", "is_deleted", "row"]

_VERSIONS = "SELECT source, max(version) FROM ai_usage_directory GROUP BY source"

_KEPT_ORIGIN = "SELECT JSONExtractString(row, 'id') FROM ai_usage_directory FINAL WHERE source = {source:String}"

# A copy that is under way has the former version too.
_KEPT_VERSION = """
    SELECT max(JSONExtractInt(row, 'number'))
    FROM ai_usage_directory FINAL
    WHERE source = 'directory_version'
"""

_OWN_VERSION = "SELECT number FROM directory_version"

_OWN_ORIGIN = "SELECT id::text FROM directory_origin"

_PUT_BACK_FROM = "SELECT origin::text FROM put_back_from"

_LEAVE_ORIGIN = "INSERT INTO put_back_from SELECT id FROM directory_origin"

_NEW_ORIGIN = "UPDATE directory_origin SET id = gen_random_uuid()"

# A replicated table would refuse a condition with a subquery, whose answer could be another one on each replica.
_REMOVE_OUTDATED = """
    ALTER TABLE ai_usage_directory {on_cluster} DELETE
    WHERE is_deleted OR (source, key, version) NOT IN (
        SELECT source, key, max(version) FROM ai_usage_directory GROUP BY source, key
    )
"""


class KeptTable(NamedTuple):
    """A table of PostgreSQL of which a copy is kept.

    Attributes:
        key: columns of its key; empty if the whole row is the key.
    """

    name: str
    key: tuple[str, ...] = ()


# The version of the directory comes first: a copy that is interrupted then never has facts of later versions. The
# origin comes last, and only with it the copy is whole.
TABLES = (
    KeptTable("directory_version"),
    KeptTable("facts", ("kind", "id", "attribute", "scope")),
    KeptTable("restated_facts", ("id",)),
    KeptTable("user_names", ("user_id", "namespace_path")),
    KeptTable("users", ("id",)),
    KeptTable("namespaces", ("id",)),
    KeptTable("projects", ("id",)),
    KeptTable("namespace_moves", ("number",)),
    KeptTable("namespace_moves_in_clickhouse", ("number", "target")),
    KeptTable("directory_changes"),
    KeptTable("erasures", ("id",)),
    KeptTable("exports", ("id",)),
    KeptTable("releases", ("number",)),
    KeptTable("event_types", ("id",)),
    KeptTable("payload_keys", ("feature", "path")),
    KeptTable("reprocessings", ("number",)),
    KeptTable("tenant_usage", ("day", "tenant", "shard")),
    KeptTable("refills", ("epoch",)),
    KeptTable("sync_state", ("target",)),
    KeptTable(ORIGIN),
)
"""What PostgreSQL needs after a loss, beside the events."""

NOT_KEPT = frozenset(
    {
        "ai_usage_events",
        "alembic_version",  # a new database is migrated
        "claimed_ids",  # empty but within a transaction
        "migration_steps",
        "partitions_without_projects",
        "put_back_from",  # of the database's own refill
        "refilled_months",  # of the database's own refill
        "rejected_events",  # may hold anything that somebody sent
        "rejection_history",
        "removed_keys",  # what waits for the sync is lost with what it waits for
        "rollup_changes",
        "rollup_days",  # rollups are built anew
    }
)
"""Tables that a refilled PostgreSQL can do without."""


class Look(NamedTuple):
    """What the last look at a table found.

    Attributes:
        written: what was written in PostgreSQL before; None if unknown.
        version: newest version of a row in ClickHouse.
        again_at: monotonic time before which the table is not looked at again.
    """

    written: tuple[int, ...] | None
    version: int
    again_at: float


type Looks = dict[str, Look]
"""The last looks by table, which a process keeps."""


def has_copy(client: Client) -> bool:
    """Whether a copy was ever begun."""
    return bool(columns_of(client, TABLE))


def is_of_another(connection: Connection, client: Client) -> bool:
    """Whether ClickHouse keeps the directory of another PostgreSQL, which this one must not replace.

    A PostgreSQL that was put back to an earlier moment is another one until it has been refilled.
    """
    kept = _kept_origin(client)
    return kept is not None and (_own_origin(connection) != kept or _is_behind(connection, client))


def was_put_back(connection: Connection, client: Client) -> bool:
    """Whether this PostgreSQL was put back to a moment before ClickHouse's copy, and has not been refilled since."""
    kept = _kept_origin(client)
    if kept is None:
        return False
    if _own_origin(connection) == kept:
        return _is_behind(connection, client)
    return (kept,) in connection.execute(_PUT_BACK_FROM).fetchall()


def leave_origin(connection: Connection, client: Client) -> None:
    """Makes a PostgreSQL that was put back another one, although its sync starts anew. Call it in a transaction."""
    if _own_origin(connection) == _kept_origin(client) and _is_behind(connection, client):
        connection.execute(_LEAVE_ORIGIN)
        connection.execute(_NEW_ORIGIN)


def _kept_origin(client: Client) -> str | None:
    """Returns the origin of the directory that ClickHouse keeps; None without a whole copy."""
    if not has_copy(client):
        return None
    rows = client.query(_KEPT_ORIGIN, parameters={"source": ORIGIN}).result_rows
    return str(rows[0][0]) if rows else None


def _own_origin(connection: Connection) -> str:
    return str(connection.execute(_OWN_ORIGIN).fetchall()[0][0])


def lacks_changes(connection: Connection, client: Client) -> bool:
    """Whether this PostgreSQL's directory is older than ClickHouse's copy of it.

    Tells of a PostgreSQL that was put back to a moment before ClickHouse's table was made, and so knows no mark of it.
    """
    return _own_origin(connection) == _kept_origin(client) and _has_lower_version(connection, client)


def _is_behind(connection: Connection, client: Client) -> bool:
    target = readable_target_of(client)
    counts_less = target is not None and marks.was_put_back(connection, client, target)
    return counts_less or _has_lower_version(connection, client)


def _has_lower_version(connection: Connection, client: Client) -> bool:
    kept = int(client.query(_KEPT_VERSION).result_rows[0][0])
    return int(connection.execute(_OWN_VERSION).fetchall()[0][0]) < kept


def copy_directory(connection: Connection, client: Client, cluster: str | None, looks: Looks | None = None) -> int:
    """Makes the copy as PostgreSQL's directory is now; returns how many rows were copied or marked as deleted.

    Requires the lock of the sync. The copy must not be that of another PostgreSQL.

    Args:
        connection: must have no open transaction.
        looks: spares reading tables that have not changed; gets what this look finds.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error; the next call copies what is left.
    """
    looks = {} if looks is None else looks
    if not has_copy(client):
        client.command(definition(cluster))
    versions = {source: int(newest) for source, newest in client.query(_VERSIONS).result_rows}
    next_version = max(versions.values(), default=0) + 1
    # Before the transaction that reads the rows: what is counted here must be visible to it.
    written = {table.name: _written(connection, table) for table in TABLES}
    copied = 0
    with _one_state(connection):
        for table in TABLES:
            start, version, look = time.monotonic(), versions.get(table.name, 0), looks.get(table.name)
            if look is not None and look.version == version and _still_holds(look, written[table.name], start):
                continue
            changed = _Copying(connection, client, table, next_version).run()
            end = time.monotonic()
            version = next_version if changed else version
            looks[table.name] = Look(written[table.name], version, end + PAUSES * (end - start))
            copied += changed
    return copied


def remove_outdated(client: Client, cluster: str | None, seconds: int) -> None:
    """Removes the bytes of rows that were changed or deleted, and waits until every replica has done so.

    Requires the lock of the sync.
    """
    settings = {"mutations_sync": 2, "distributed_ddl_task_timeout": seconds, "allow_nondeterministic_mutations": 1}
    client.command(_REMOVE_OUTDATED.format(on_cluster=migrations.on_cluster(cluster)), settings=settings)


def definition(cluster: str | None) -> str:
    """Returns the statement that creates the table."""
    engine = "ReplicatedReplacingMergeTree" if cluster else "ReplacingMergeTree"
    text = (migrations.FOLDER / f"{TABLE}.sql").read_text()
    return text.format(on_cluster=migrations.on_cluster(cluster), engine=engine)


class _Copying(NamedTuple):
    """The copying of one table."""

    connection: Connection
    client: Client
    table: KeptTable
    version: int

    def run(self) -> int:
        """Returns the number of rows that were inserted."""
        buckets = self._differing_buckets()
        if not buckets:
            return 0
        known = self._known(buckets)
        with closing(self._changed(buckets, known)) as changed:  # a COPY that is left open would block a rollback
            copied = self._insert(changed)
        return copied + self._insert(self._gone(known))

    def _differing_buckets(self) -> list[int]:
        statement = _POSTGRES_SUMS.format(rows=self._rows)
        here = {bucket: (count, int(sums) % _HASHES) for bucket, count, sums in self.connection.execute(statement)}
        rows = self.client.query(_CLICKHOUSE_SUMS, parameters={"source": self.table.name}).result_rows
        there = {bucket: (count, int(sums) % _HASHES) for bucket, count, sums in rows}
        return sorted(bucket for bucket in here.keys() | there.keys() if here.get(bucket) != there.get(bucket))

    def _known(self, buckets: list[int]) -> "_KnownRows":
        values = {"source": self.table.name, "buckets": buckets}
        known = _KnownRows()
        with self.client.query_row_block_stream(_CLICKHOUSE_HASHES, parameters=values) as blocks:
            for block in blocks:
                for key, row_hash in block:
                    known.add(key, row_hash)
        return known

    def _changed(self, buckets: list[int], known: "_KnownRows") -> Generator[bytes]:
        """Yields the rows that ClickHouse lacks or has otherwise."""
        statement = _COPY.format(
            source=sql.Literal(self.table.name),
            version=sql.Literal(self.version),
            rows=self._rows,
            buckets=sql.Literal(buckets),
        )
        with self.connection.cursor().copy(statement) as copy:
            for row in map(bytes, copy):
                key, row_hash, _ = row.split(b"\t", 2)
                if not known.is_same(int(key), int(row_hash)):
                    yield row

    def _gone(self, known: "_KnownRows") -> Iterator[bytes]:
        """Yields marks of the rows that PostgreSQL no longer has."""
        for key in known.not_seen():
            yield b"%d\t0\t%s\t%d\t1\t\n" % (key, self.table.name.encode(), self.version)

    def _insert(self, rows: Iterator[bytes]) -> int:
        inserted = 0
        for count, chunk in _chunks(rows):
            settings = INSERT_SETTINGS | {"insert_deduplication_token": str(uuid4())}
            self.client.raw_insert(TABLE, _COLUMNS, chunk, settings=settings, fmt="TabSeparated")
            inserted += count
        return inserted

    @property
    def _rows(self) -> sql.Composed:
        names = [sql.Identifier("kept", name) for name in self.table.key]
        key = sql.SQL("jsonb_build_array({})::text").format(
            sql.SQL(", ").join(sql.Identifier(name) for name in self.table.key)
        )
        columns = sql.SQL(", ").join(names) if names else sql.SQL("NULL AS whole")
        return _ROWS.format(
            key=key if names else sql.SQL("text"), columns=columns, table=sql.Identifier(self.table.name)
        )


class _KnownRows:
    """The hashes of the rows that ClickHouse has, in 17 bytes each."""

    def __init__(self) -> None:
        self._keys = array("q")
        self._hashes = array("q")
        self._seen = bytearray()

    def add(self, key: int, row_hash: int) -> None:
        """Adds a row; the keys must come in order."""
        self._keys.append(key)
        self._hashes.append(row_hash)
        self._seen.append(0)

    def is_same(self, key: int, row_hash: int) -> bool:
        """Whether ClickHouse has the row as it is; marks its key as seen."""
        place = bisect_left(self._keys, key)
        if place == len(self._keys) or self._keys[place] != key:
            return False
        self._seen[place] = 1
        return self._hashes[place] == row_hash

    def not_seen(self) -> Iterator[int]:
        """Yields the keys that were never asked for."""
        return (key for key, seen in zip(self._keys, self._seen, strict=True) if not seen)


def _written(connection: Connection, table: KeptTable) -> tuple[int, ...] | None:
    found = connection.execute(_WRITTEN, [table.name]).fetchone()
    return found if found is not None and any(found) else None


def _still_holds(look: Look, written: tuple[int, ...] | None, now: float) -> bool:
    return now < look.again_at or (written is not None and written == look.written)


def _chunks(rows: Iterable[Buffer]) -> Iterator[tuple[int, bytes]]:
    """Yields rows together, with their number: an insert of each alone would take far longer."""
    count, gathered = 0, bytearray()
    for row in rows:
        count += 1
        gathered += row
        if len(gathered) >= _CHUNK_BYTES:
            yield count, bytes(gathered)
            count, gathered = 0, bytearray()
    if gathered:
        yield count, bytes(gathered)


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute(_ONE_STATE)
        yield
