"""The directory's lock: batches that restate known values share it, a batch that changes a value holds it alone.

Most statements change nothing. Their times still count, because an older statement with another value must not take
effect later. A batch writes the times of everything it restates as one row of `restated_facts`, under the shared lock.
A batch that changes a value takes the exclusive lock, first folds the restated times into the facts, and then
compares.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from functions.ingest.directory.fact import Statement, Subject
from functions.ingest.directory.users import StatedNames
from functions.shared import locks
from functions.shared.directory_lock import FOLD_RESTATED
from functions.shared.postgres import Connection
from functions.shared.timestamp import to_microseconds

MAX_RESTATED_BATCHES = 200
"""Approximate maximum of rows in `restated_facts` before their times are folded into the facts."""

MAX_RESTATED_BYTES = 8 * 1024 * 1024
"""Approximate maximum of their bytes: some 300,000 times, which are folded in a second while other batches wait."""

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"

_ROWS_REMOVED = "UPDATE directory_version SET number = number + 1, rows_removed_in = number + 1"

_RESTATE = """
    INSERT INTO restated_facts (statements) VALUES (%s)
    RETURNING
        (SELECT count(*) + 1 FROM restated_facts),
        (SELECT coalesce(sum(pg_column_size(others.statements)), 0) FROM restated_facts AS others)
            + pg_column_size(statements)
"""


def mark_rows_removed(connection: Connection) -> None:
    """Makes consumers forget all cached facts, because they can't find rows that were deleted."""
    connection.execute(_ROWS_REMOVED)


def fold_restated(connection: Connection) -> None:
    """Folds restated times into the facts, unless another batch is doing so."""
    with connection.transaction():
        if connection.execute(_TRY_LOCK, [locks.RESTATED_FACTS]).fetchone() == (True,):
            connection.execute(FOLD_RESTATED)


class Waiting(NamedTuple):
    """Number and bytes of the rows of `restated_facts` that wait to be folded."""

    batches: int = 0
    size: int = 0

    @property
    def is_much(self) -> bool:
        """Whether the rows should be folded now."""
        return self.batches > MAX_RESTATED_BATCHES or self.size > MAX_RESTATED_BYTES


class Restated:
    """The times of restated facts and names by sender, in microseconds since 1970.

    Facts are keyed by kind, property, limit and id.
    """

    def __init__(self) -> None:
        self.senders: defaultdict[tuple[str, str], tuple[_FactTimes, list[_NameTimes]]] = defaultdict(_no_times)

    def add(self, subject: Subject, property_name: str, limit: str, statement: Statement) -> None:
        """Adds a fact."""
        kind, number = subject
        facts, _ = self.senders[statement.issuer, statement.sub]
        facts[kind][property_name][limit][number] = to_microseconds(statement.stated_at) if statement.stated_at else 0

    def add_names(self, stated: Iterable[StatedNames]) -> None:
        """Adds names."""
        for one in stated:
            _, names = self.senders[one.issuer, one.sub]
            names.append(_NameTimes(one.namespace_path, one.is_limited, one.users, one.times))

    def write(self, connection: Connection) -> Waiting:
        """Writes the times as a row of `restated_facts`, and returns what waits now."""
        if not self.senders:
            return Waiting()
        text = msgspec.json.encode(
            [
                {"issuer": issuer, "sub": sub, "facts": facts, "names": names}
                for (issuer, sub), (facts, names) in self.senders.items()
            ]
        ).decode()
        row = connection.execute(_RESTATE, [text]).fetchone()
        return Waiting(int(row[0]), int(row[1])) if row else Waiting()


type _FactTimes = defaultdict[str, defaultdict[str, defaultdict[str, dict[int, int]]]]


class _NameTimes(msgspec.Struct):
    namespace_path: str
    is_limited: bool
    users: list[int]
    times: list[int]


def _no_times() -> tuple[_FactTimes, list[_NameTimes]]:
    return defaultdict(lambda: defaultdict(lambda: defaultdict(dict))), []
