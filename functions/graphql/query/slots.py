"""Query slots: limit how many statements of one tenant run on the stores at once.

Lambda functions are separate processes, so PostgreSQL keeps the slots, as advisory locks. A statement takes one slot
of its tenant. The slot ends with the transaction, so neither a frozen function nor a pooler can keep it.
"""

import hashlib
import random
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from functions.graphql.query.budget import Deadline
from functions.graphql.query.errors import TooManyQueries
from functions.shared import locks
from functions.shared.grant import Grant
from functions.shared.postgres import Connection, Database
from functions.shared.tenant import tenant_of

MAX_TENANT_QUERIES = 2
MAX_INSTANCE_QUERIES = 8  # for a token for everything, which serves many readers
MAX_WAIT_SECONDS = 5.0

_PAUSE_SECONDS = 0.02
_MAX_PAUSE_SECONDS = 0.2

# No session has this setting: without a free slot, the statement fails with an error that names the setting.
_NO_SLOT = "ai_usage_events.free_slot"

_WITHIN_SLOT = sql.SQL("SELECT answer.* FROM ({statement}) AS answer WHERE (SELECT CASE {slots} ELSE {no_slot} END)")
_TAKE_SLOT = sql.SQL("SELECT CASE {slots} ELSE false END")
_SLOT = sql.SQL("WHEN pg_try_advisory_xact_lock({}, {}) THEN true")
_NO_FREE_SLOT = sql.SQL("current_setting({})::boolean").format(sql.Literal(_NO_SLOT))


class _NoSlot(Exception):
    """All slots of the tenant are taken."""


class SlottedConnection(msgspec.Struct, frozen=True):
    """A connection that takes a slot for each statement, in the same round trip."""

    connection: Connection
    slots: sql.Composable

    def execute(
        self, statement: LiteralString | sql.Composable, values: Any, *, prepare: bool = False
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Executes a statement in a slot. The slot is free again after the statement's transaction.

        Raises:
            psycopg.errors.UndefinedObject: no slot is free; PostgreSQL did not begin the statement.
        """
        return self.connection.execute(self._within_slot(statement), values, prepare=prepare)

    def stream(self, statement: LiteralString | sql.Composable, values: Any) -> Generator[tuple[Any, ...]]:
        """Executes a statement in a slot, and yields each row as it arrives.

        The generator keeps the connection until it is closed.

        Raises:
            As `execute`.
        """
        with self.connection.cursor() as cursor:
            yield from cursor.stream(self._within_slot(statement), values)

    def _within_slot(self, statement: LiteralString | sql.Composable) -> sql.Composed:
        text = statement if isinstance(statement, sql.Composable) else sql.SQL(statement)
        return _WITHIN_SLOT.format(statement=text, slots=self.slots, no_slot=_NO_FREE_SLOT)


class Slots:
    """The query slots of a token's tenant. Waits for a free slot for at most `MAX_WAIT_SECONDS`."""

    def __init__(self, database: Database, grant: Grant, deadline: Deadline) -> None:
        self._database = database
        self._deadline = deadline
        self._limit = MAX_INSTANCE_QUERIES if grant.is_everywhere else MAX_TENANT_QUERIES
        self._slots = _slots(grant, self._limit)

    def read[Result](self, work: Callable[[SlottedConnection], Result]) -> Result:
        """Runs `work`, whose statements on PostgreSQL each take a slot, and returns its result.

        Raises:
            TooManyQueries: no slot became free in time.
            QueryTooSlow: the query's time is over.
            psycopg.Error: as `Database.run`.
        """

        def attempt(connection: Connection) -> Result:
            try:
                return work(SlottedConnection(connection, self._slots))
            except psycopg.errors.UndefinedObject as error:
                if _NO_SLOT in (error.diag.message_primary or ""):
                    raise _NoSlot from error
                raise

        return self._retry_until_free(lambda: self._database.run(attempt))

    def hold[Result](self, work: Callable[[], Result]) -> Result:
        """Runs `work`, which asks another store, while a transaction without a snapshot holds a slot.

        Raises:
            As `read`.
        """
        take = _TAKE_SLOT.format(slots=self._slots)

        def attempt(connection: Connection) -> Result:
            is_begun = connection.info.transaction_status != TransactionStatus.IDLE
            with nullcontext() if is_begun else connection.transaction():
                row = connection.execute(take).fetchone()
                if row is None or not row[0]:
                    raise _NoSlot
                return work()

        return self._retry_until_free(lambda: self._database.run(attempt))

    def _retry_until_free[Result](self, attempt: Callable[[], Result]) -> Result:
        last_start = time.monotonic() + MAX_WAIT_SECONDS
        pause = _PAUSE_SECONDS
        while True:
            self._deadline.remaining()
            try:
                return attempt()
            except _NoSlot:
                if time.monotonic() >= last_start:
                    raise TooManyQueries(self._limit) from None
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - random, so that waiting queries do not ask in step
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)


@lru_cache(100)
def _slots(grant: Grant, count: int) -> sql.SQL:
    """The branches that each take a slot of the tenant, if it is free. Composing them takes as long as a short read."""
    branches = sql.SQL(" ").join(_SLOT.format(locks.QUERY_SLOTS, number) for number in _numbers(grant, count))
    return sql.SQL(branches.as_string())


def _numbers(grant: Grant, count: int) -> Iterable[int]:
    """Lock numbers of the tenant's slots: equal in every process, and rarely equal to another tenant's."""
    owner = grant.root_namespaces or (tenant_of(grant), grant.sub)
    for slot in range(count):
        text = "\n".join((grant.issuer, *owner, str(slot)))
        yield int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=4).digest(), signed=True)
