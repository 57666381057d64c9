"""Restores the directory from the copy that the sync keeps in ClickHouse."""

from collections.abc import Iterator
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.postgres import Connection
from functions.sync.kept_directory import ORIGIN, TABLES, has_copy

_ROWS_AT_ONCE = 5_000

FILLED_BY_MIGRATIONS = frozenset({"directory_version", "releases", "event_types", "payload_keys", ORIGIN})
"""Tables that have rows after the migrations; the kept rows replace them."""

NOT_RESTORED = frozenset({"sync_state"})
"""Tables of which the copy only tells how far the lost PostgreSQL had come."""

_COUNTS = """
    SELECT source, count()
    FROM ai_usage_directory FINAL
    GROUP BY source
"""

_ROWS = "SELECT row FROM ai_usage_directory FINAL WHERE source = {source:String} ORDER BY key"

_HAS_ROWS = sql.SQL("SELECT EXISTS (SELECT FROM {table})")

_COLUMNS = """
    SELECT attname
    FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

_EMPTY = sql.SQL("DELETE FROM {table}")

# What a later release has added is NULL.
_LIKE = sql.SQL("CREATE TEMPORARY TABLE {kept} ON COMMIT DROP AS SELECT * FROM {table} WITH NO DATA")

_LOAD = sql.SQL("""
    INSERT INTO {kept}
    SELECT restored.*
    FROM jsonb_array_elements(%s::jsonb) AS kept (row)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, kept.row) AS restored
""")

_INSERT = sql.SQL("""
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
    SELECT {columns}
    FROM jsonb_array_elements(%s::jsonb) AS kept (row)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, kept.row) AS restored
""")

_IDENTITY_COLUMNS = """
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attidentity <> ''
"""

_CONTINUE_NUMBERS = sql.SQL("""
    SELECT setval(
        pg_get_serial_sequence({name}, {column}), greatest(max({identifier}), 1), max({identifier}) IS NOT NULL
    )
    FROM {table}
""")


class KeptDirectory:
    """The copy of a directory in ClickHouse."""

    def __init__(self, client: Client) -> None:
        self._client = client
        rows = client.query(_COUNTS).result_rows if has_copy(client) else []
        self.counts: dict[str, int] = {source: int(count) for source, count in rows}

    @property
    def is_whole(self) -> bool:
        """Whether the copy was ever complete."""
        return ORIGIN in self.counts

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Returns all rows of a small table."""
        return [msgspec.json.decode(row) for row in self._texts(table)]

    def restore(self, connection: Connection) -> int:
        """Inserts all rows, and returns how many there are. Call it within a transaction."""
        return sum(self._restore(connection, table.name) for table in TABLES if table.name not in NOT_RESTORED)

    def load(self, connection: Connection, table: str) -> list[str]:
        """Makes a temporary table `kept_…` of a table's kept rows; returns the columns that they have."""
        parts = {"kept": sql.Identifier(f"kept_{table}"), "table": sql.Identifier(table)}
        connection.execute(_LIKE.format(**parts))
        names: list[str] = []
        for rows in self._portions(table):
            names = names or _columns(connection, table, rows[0])
            connection.execute(_LOAD.format(**parts), [f"[{','.join(rows)}]"])
        return names

    def _restore(self, connection: Connection, table: str) -> int:
        if table not in self.counts:
            return 0
        identifier = sql.Identifier(table)
        if table in FILLED_BY_MIGRATIONS:
            connection.execute(_EMPTY.format(table=identifier))
        restored, statement = 0, None
        for rows in self._portions(table):
            if statement is None:
                columns = sql.SQL(", ").join(map(sql.Identifier, _columns(connection, table, rows[0])))
                statement = _INSERT.format(table=identifier, columns=columns)
            restored += connection.execute(statement, [f"[{','.join(rows)}]"]).rowcount
        for (column,) in connection.execute(_IDENTITY_COLUMNS, [table]).fetchall():
            connection.execute(
                _CONTINUE_NUMBERS.format(
                    name=sql.Literal(table),
                    column=sql.Literal(column),
                    identifier=sql.Identifier(column),
                    table=identifier,
                )
            )
        return restored

    def _portions(self, table: str) -> Iterator[list[str]]:
        portion: list[str] = []
        for text in self._texts(table):
            portion.append(text)
            if len(portion) == _ROWS_AT_ONCE:
                yield portion
                portion = []
        if portion:
            yield portion

    def _texts(self, table: str) -> Iterator[str]:
        with self._client.query_row_block_stream(_ROWS, parameters={"source": table}) as blocks:
            for block in blocks:
                for (text,) in block:
                    yield text


def _columns(connection: Connection, table: str, row: str) -> list[str]:
    """Returns the columns of a table that a kept row has. A column that a later release has added keeps its default."""
    kept = msgspec.json.decode(row)
    return [name for (name,) in connection.execute(_COLUMNS, [table]) if name in kept]


def tables_with_rows(connection: Connection) -> list[str]:
    """Returns the tables of the directory that should be empty in a new database, but are not."""
    names = [table.name for table in TABLES if table.name not in FILLED_BY_MIGRATIONS | NOT_RESTORED]
    return [
        name for name in names if connection.execute(_HAS_ROWS.format(table=sql.Identifier(name))).fetchone() == (True,)
    ]
