"""Finds what a migration of PostgreSQL takes away from code that was written for the schema before."""

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import psycopg

# Partitions are not listed: they are made as the table is.
_TABLES = """
    SELECT oid::regclass::text, relfilenode
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
"""

_FILES = """
    SELECT oid::regclass::text, pg_relation_filenode(oid)
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""

_COLUMNS = """
    SELECT attrelid::regclass::text || '.' || attname,
           format_type(atttypid, atttypmod),
           attnotnull,
           atthasdef OR attidentity <> '' OR attgenerated <> ''
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
      AND attnum > 0 AND NOT attisdropped
"""

# Keys and checks by what they say, because their names do not matter to a statement.
_CONSTRAINTS = """
    SELECT conrelid::regclass::text || ': ' || replace(pg_get_constraintdef(con.oid), ' NOT VALID', ''),
           contype IN ('p', 'u', 'x'),
           array(
               SELECT conrelid::regclass::text || '.' || attname
               FROM pg_attribute
               WHERE attrelid = conrelid AND attnum = ANY(conkey)
           )
    FROM pg_constraint AS con
    JOIN pg_class ON pg_class.oid = conrelid
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND NOT relispartition
"""

_TRIGGERS = """
    SELECT tgrelid::regclass::text || ': ' || tgname
    FROM pg_trigger
    JOIN pg_class ON pg_class.oid = tgrelid
    WHERE NOT tgisinternal AND NOT relispartition
"""

_INDEXES = """
    SELECT indexrelid::regclass::text, indrelid::regclass::text
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indrelid
    WHERE relnamespace = 'public'::regnamespace
"""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        has_default: whether an `INSERT` may leave the column out although it is not null.
    """

    type: str
    is_required: bool
    has_default: bool


class Catalog(NamedTuple):
    """What PostgreSQL knows of the schema.

    Attributes:
        columns: by `table.column`.
        constraints: whether each is a key, and its columns.
        files: the file of each table; another one means that the table was rewritten.
        indexes: the table of each index.
    """

    tables: Set[str]
    columns: dict[str, Column]
    constraints: dict[str, tuple[bool, list[str]]]
    triggers: Set[str]
    files: dict[str, int]
    indexes: dict[str, str]

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> "Catalog":
        """Reads the schema of the database."""

        def rows(statement: str) -> list[Any]:
            return connection.execute(statement.encode()).fetchall()

        return cls(
            tables={name for name, _ in rows(_TABLES)},
            columns={name: Column(*column) for name, *column in rows(_COLUMNS)},
            constraints={name: (is_key, columns) for name, is_key, columns in rows(_CONSTRAINTS)},
            triggers={name for (name,) in rows(_TRIGGERS)},
            files=dict(rows(_FILES)),
            indexes=dict(rows(_INDEXES)),
        )


def broken(before: Catalog, after: Catalog, unused: Set[str]) -> Iterator[str]:
    """Says what code for the schema before can no longer do.

    Args:
        unused: what that code does not use, by the names of `Catalog`.
    """
    yield from (f"{table} is gone" for table in before.tables - after.tables - unused)
    yield from (f"the trigger {name} is gone" for name in before.triggers - after.triggers - unused)
    for name, column in before.columns.items():
        now = after.columns.get(name)
        if name in unused or name.partition(".")[0] not in after.tables:
            continue
        if now is None:
            yield f"{name} is gone"
        elif now.type != column.type:
            yield f"{name} is {now.type} instead of {column.type}"
        elif now.is_required and not column.is_required:
            yield f"{name} is no longer null"
        elif column.has_default and not now.has_default:
            yield f"{name} has no default any more"
    for name, column in after.columns.items():
        is_new = name not in before.columns and name.partition(".")[0] in before.tables
        if is_new and column.is_required and not column.has_default:
            yield f"{name} is new, and an INSERT without it is refused"
    for name, (is_key, columns) in before.constraints.items():
        is_there = name.partition(":")[0] in after.tables
        if is_key and is_there and name not in after.constraints and name not in unused and not unused >= set(columns):
            yield f"the key {name} is gone, which ON CONFLICT may name"
    for name, (_, columns) in after.constraints.items():
        if name not in before.constraints and not before.columns.keys().isdisjoint(columns):
            yield f"{name} may refuse what was allowed"


def blocking(before: Catalog, after: Catalog) -> Iterator[str]:
    """Says what kept others waiting for long: tables that were rewritten, and indexes that were built.

    Args:
        after: the schema after `upgrade`, but before the steps.
    """
    for name, file in before.files.items():
        if name in after.files and after.files[name] != file:
            yield f"{name} was rewritten: readers wait"
    for name, table in after.indexes.items():
        if name not in before.indexes and table in before.files | dict.fromkeys(before.tables, 0):
            yield f"{name} was built in a transaction: writers wait; use a step"
