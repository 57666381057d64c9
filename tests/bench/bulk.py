"""Loads many events into PostgreSQL as fast as it can: without indexes, which are made once all rows are there."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import sql

from functions.shared.partitions import partitions

CONNECTIONS = 2

# Nothing is lost with these: a data set whose making was interrupted is made anew. Nor is a table vacuumed later, while
# something is measured.
WHILE_LOADING = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET autovacuum = off",
    "ALTER SYSTEM SET max_wal_size = '512MB'",
    "ALTER SYSTEM SET maintenance_work_mem = '256MB'",
    "SELECT pg_reload_conf()",
)
ONCE_LOADED = (
    "ALTER SYSTEM RESET fsync",
    "ALTER SYSTEM RESET full_page_writes",
    "ALTER SYSTEM RESET maintenance_work_mem",
    "SELECT pg_reload_conf()",
    "CHECKPOINT",
)

# `ON ONLY`, as PostgreSQL writes it, would make the index on no partition.
INDEXES = """
    SELECT indexrelid::regclass::text, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')
    FROM pg_index
    WHERE indrelid = 'ai_usage_events'::regclass
"""
UNIQUE = sql.SQL("ALTER TABLE {partition} ADD CONSTRAINT {name} UNIQUE (id)")
NOT_UNIQUE = sql.SQL("ALTER TABLE {partition} DROP CONSTRAINT {name}")
VACUUM = sql.SQL("VACUUM (FREEZE) {partition}")


@contextmanager
def loading(server: str) -> Iterator[None]:
    """Lets the server forget about crashes within the block."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        for setting in WHILE_LOADING:
            connection.execute(setting)
        yield
        for setting in ONCE_LOADED:
            connection.execute(setting)


@contextmanager
def without_indexes(url: str) -> Iterator[None]:
    """Drops all indexes of the events, and makes them again, the same, after the block; then analyzes the tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = partitions(connection)
        indexes = connection.execute(INDEXES).fetchall()
        for name in names:
            connection.execute(_on_id(NOT_UNIQUE, name))
        for index, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.SQL(index)))
        yield
        _execute(url, [VACUUM.format(partition=sql.Identifier(name)) for name in names])
        _execute(url, [_on_id(UNIQUE, name) for name in names])
        _execute(url, [sql.SQL(definition) for _, definition in indexes])
        connection.execute("ANALYZE")


def _on_id(statement: sql.SQL, partition: str) -> sql.Composed:
    return statement.format(partition=sql.Identifier(partition), name=sql.Identifier(f"{partition}_id_key"))


def _execute(url: str, statements: Sequence[sql.SQL | sql.Composed]) -> None:
    """Executes the statements on several connections at once."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(partial(_execute_alone, url), statements))


def _execute_alone(url: str, statement: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
