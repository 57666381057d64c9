"""Long work of migrations, done outside of their transactions so that senders and readers don't wait for it.

A migration lists its steps as `STEPS`; they run in their order after `upgrade` is committed, and before the next
migration. PostgreSQL records which are done. A step that is interrupted is run again, by the same deployment or a later
one, and goes on where it stopped.
"""

from dataclasses import dataclass
from functools import partial
from typing import LiteralString, Protocol

import psycopg
from psycopg import sql

from functions.shared.postgres import Connection
from infra.migrations.budget import LOCK_SECONDS, TimeBudget, Unfinished

_MAX_NAME_BYTES = 63

# Only partitions: building the parent's index locks out writers no longer than making an empty one takes.
_CREATE_ON_PARENT = "CREATE INDEX IF NOT EXISTS {index} ON ONLY {table} {definition}"

_CREATE = "CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} {definition}"

_DROP = "DROP INDEX CONCURRENTLY IF EXISTS {index}"

_DROP_UNUSED = "DROP INDEX IF EXISTS {index}"

_ATTACH = "ALTER INDEX {parent} ATTACH PARTITION {index}"

_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass"

_IS_INVALID = "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"

_WITHOUT_INDEX = """
    SELECT child.relname
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = %(table)s::regclass
      AND NOT inhdetachpending
      AND NOT EXISTS (
          SELECT
          FROM pg_index
          JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
          WHERE indrelid = child.oid AND attached.inhparent = %(index)s::regclass
      )
    ORDER BY child.relname DESC
    LIMIT 1
"""

_SET = "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)"


class Step(Protocol):
    """Work that can be repeated, and that goes on where it stopped."""

    @property
    def name(self) -> str:
        """What is done, for the log."""
        ...

    def run(self, connection: Connection, budget: TimeBudget) -> None:
        """Does the work.

        Args:
            connection: in autocommit mode, with a `lock_timeout`.

        Raises:
            Unfinished: the time ended before the work did.
        """
        ...


@dataclass(frozen=True, slots=True)
class BuildIndex:
    """Builds an index while others write: on a partitioned table, on one partition after another.

    Attributes:
        index: name of the index; that of a partitioned table begins with the table's name.
        definition: what follows the table in `CREATE INDEX`, like `(user_id, timestamp DESC)`.
    """

    index: LiteralString
    table: LiteralString
    definition: LiteralString

    @property
    def name(self) -> str:
        """What is done, for the log."""
        return f"index {self.index}"

    def run(self, connection: Connection, budget: TimeBudget) -> None:
        """Builds what is missing; an index that an interrupted run left half built is built anew."""
        if connection.execute(_IS_PARTITIONED, [self.table]).fetchone() != (True,):
            self._build(self.index, self.table, connection, budget)
            return
        budget.retried(lambda: connection.execute(self._statement(_CREATE_ON_PARENT, self.index, self.table)))
        values = {"table": self.table, "index": self.index}
        while row := connection.execute(_WITHOUT_INDEX, values).fetchone():
            partition = str(row[0])
            index = f"{partition}{self.index.removeprefix(self.table)}"[:_MAX_NAME_BYTES]
            try:
                self._build(index, partition, connection, budget)
                attach = sql.SQL(_ATTACH).format(parent=sql.Identifier(self.index), index=sql.Identifier(index))
                budget.retried(partial(connection.execute, attach))
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject):
                continue  # the retention has dropped the partition

    def _build(self, index: str, table: str, connection: Connection, budget: TimeBudget) -> None:
        """Builds an index concurrently.

        The build waits for all transactions that may still see the table without the index. Nobody waits for the build
        meanwhile, so the limit of locks is off.
        """
        budget.require()
        if connection.execute(_IS_INVALID, [index]).fetchone() == (True,):
            self._alone(self._statement(_DROP, index, table), connection, budget)
        self._alone(self._statement(_CREATE, index, table), connection, budget)

    def _alone(self, statement: sql.Composed, connection: Connection, budget: TimeBudget) -> None:
        connection.execute(_SET, ["0", f"{max(1, int(budget.seconds))}s"])
        try:
            connection.execute(statement)
        except psycopg.errors.QueryCanceled:
            raise Unfinished(
                f"the time ended before {self.name} was built; the next deployment begins with the partition that was "
                "being built. `usage-events migrate` has more time"
            ) from None
        finally:
            connection.execute(_SET, [f"{LOCK_SECONDS}s", f"{max(1, int(budget.seconds))}s"])

    def _statement(self, text: LiteralString, index: str, table: str) -> sql.Composed:
        names = {"index": sql.Identifier(index), "table": sql.Identifier(table)}
        return sql.SQL(text).format(**names, definition=sql.SQL(self.definition))


@dataclass(frozen=True, slots=True)
class DropIndex:
    """Drops an index that another one replaces: on a partitioned table, on all partitions.

    Dropping takes no time. It waits for its locks like a migration, so readers and writers wait a moment at most.
    """

    index: LiteralString

    @property
    def name(self) -> str:
        """What is done, for the log."""
        return f"end of index {self.index}"

    def run(self, connection: Connection, budget: TimeBudget) -> None:
        """Drops the index if it is there."""
        statement = sql.SQL(_DROP_UNUSED).format(index=sql.Identifier(self.index))
        budget.retried(partial(connection.execute, statement))


@dataclass(frozen=True, slots=True)
class ChangeRows:
    """Changes many rows, some in each transaction.

    Attributes:
        statement: changes some thousands of the rows that are still to be changed; is repeated until it changes none.
    """

    name: str
    statement: LiteralString

    def run(self, connection: Connection, budget: TimeBudget) -> None:
        """Changes rows until none is left."""
        while budget.retried(lambda: connection.execute(self.statement).rowcount):
            pass


@dataclass(frozen=True, slots=True)
class Execute:
    """Executes one statement that may take long and locks out nobody, like `ALTER TABLE … VALIDATE CONSTRAINT …`.

    Attributes:
        statement: a repeatable statement.
    """

    name: str
    statement: LiteralString

    def run(self, connection: Connection, budget: TimeBudget) -> None:
        """Executes the statement."""
        budget.retried(lambda: connection.execute(self.statement))
