"""The directory's lock: batches that restate known values share it, a batch that changes a value holds it alone.

Most statements change nothing. Their times still count, because an older statement with another value must not take
effect later. A batch writes the times of everything it restates as one row of `restated_facts`, under the shared lock.
A batch that changes a value takes the exclusive lock, first folds the restated times into the facts, and then
compares.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from functions.ingest.directory.fact import Statement, Subject
from functions.ingest.directory.users import StatedNames
from functions.shared import locks
from functions.shared.postgres import Connection
from functions.shared.timestamp import to_microseconds

MAX_RESTATED_BATCHES = 200
"""Approximate maximum of rows in `restated_facts` before their times are folded into the facts."""

MAX_RESTATED_BYTES = 8 * 1024 * 1024
"""Approximate maximum of their bytes: some 300,000 times, which are folded in a second while other batches wait."""


_LOCK_TOGETHER = "SELECT pg_advisory_xact_lock_shared(%s)"

_LOCK_ALONE = "SELECT pg_advisory_xact_lock(%s)"

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"

_NEXT_VERSION = "UPDATE directory_version SET number = number + 1 RETURNING number"

_ROWS_REMOVED = "UPDATE directory_version SET number = number + 1, rows_removed_in = number + 1"

_RESTATE = """
    INSERT INTO restated_facts (statements) VALUES (%s)
    RETURNING
        (SELECT count(*) + 1 FROM restated_facts),
        (SELECT coalesce(sum(pg_column_size(others.statements)), 0) FROM restated_facts AS others)
            + pg_column_size(statements)
"""

_FOLD = """
    WITH restated AS (
        DELETE FROM restated_facts RETURNING statements
    ),
    senders AS MATERIALIZED (
        SELECT sender.*
        FROM restated, json_to_recordset(statements) AS sender (issuer text, sub text, facts json, names json)
    ),
    fact_times AS (
        SELECT kind.key AS kind, subject.key::bigint AS id, attribute.key AS attribute, scope.key AS scope,
            timestamptz 'epoch' + subject.value::bigint * interval '1 microsecond' AS stated_at, issuer, sub
        FROM senders,
            json_each(facts) AS kind,
            json_each(kind.value) AS attribute,
            json_each(attribute.value) AS scope,
            json_each_text(scope.value) AS subject
    ),
    newest_facts AS (
        SELECT DISTINCT ON (kind, id, attribute, scope) *
        FROM fact_times
        ORDER BY kind, id, attribute, scope, stated_at DESC, issuer COLLATE "C" DESC, sub COLLATE "C" DESC
    ),
    name_times AS (
        SELECT user_id, namespace_path, is_limited,
            timestamptz 'epoch' + microseconds * interval '1 microsecond' AS stated_at, issuer, sub
        FROM senders,
            json_to_recordset(names) AS source (
                namespace_path text, is_limited boolean, users bigint[], times bigint[]
            ),
            unnest(users, times) AS named (user_id, microseconds)
    ),
    newest_names AS (
        SELECT DISTINCT ON (user_id, namespace_path) user_id, namespace_path, stated_at, issuer, sub,
            max(stated_at) FILTER (WHERE NOT is_limited) OVER (PARTITION BY user_id, namespace_path) AS unlimited_at
        FROM name_times
        ORDER BY user_id, namespace_path, stated_at DESC, issuer COLLATE "C" DESC, sub COLLATE "C" DESC
    ),
    updated_names AS (
        UPDATE user_names AS known
        SET stated_at = greatest(known.stated_at, newest.stated_at),
            issuer = CASE
                WHEN (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
                THEN newest.issuer
                ELSE known.issuer
            END,
            sub = CASE
                WHEN (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
                THEN newest.sub
                ELSE known.sub
            END,
            unlimited_at = greatest(known.unlimited_at, newest.unlimited_at),
            unlimited_username = CASE
                WHEN (coalesce(known.unlimited_at, '-infinity'), coalesce(known.unlimited_username, ''))
                    < (newest.unlimited_at, known.username)
                THEN known.username
                ELSE known.unlimited_username
            END
        FROM newest_names AS newest
        WHERE known.user_id = newest.user_id
          AND known.namespace_path = newest.namespace_path
          AND (
              (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
              OR (coalesce(known.unlimited_at, '-infinity'), coalesce(known.unlimited_username, ''))
                  < (newest.unlimited_at, known.username)
          )
    )
    UPDATE facts AS known
    SET stated_at = newest.stated_at, issuer = newest.issuer, sub = newest.sub
    FROM newest_facts AS newest
    WHERE known.kind = newest.kind
      AND known.id = newest.id
      AND known.attribute = newest.attribute
      AND known.scope = newest.scope
      AND (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
"""


@contextmanager
def directory_held_together(connection: Connection) -> Iterator[None]:
    """A transaction under the shared lock: no value of a fact changes, and other batches may restate facts."""
    with connection.transaction():
        connection.execute(_LOCK_TOGETHER, [locks.DIRECTORY])
        yield


@contextmanager
def directory_held_alone(connection: Connection) -> Iterator[None]:
    """A transaction under the exclusive lock: nobody else writes facts, and all restated times are folded in."""
    with connection.transaction():
        connection.execute(_LOCK_ALONE, [locks.DIRECTORY])
        connection.execute(_FOLD)
        yield


def next_version(connection: Connection) -> int:
    """Returns a new version number for a change."""
    row = connection.execute(_NEXT_VERSION).fetchone()
    if row is None:
        raise AssertionError("directory_version has one row")
    return int(row[0])


def mark_rows_removed(connection: Connection) -> None:
    """Makes consumers forget all cached facts, because they can't find rows that were deleted."""
    connection.execute(_ROWS_REMOVED)


def fold_restated(connection: Connection) -> None:
    """Folds restated times into the facts, unless another batch is doing so."""
    with connection.transaction():
        if connection.execute(_TRY_LOCK, [locks.RESTATED_FACTS]).fetchone() == (True,):
            connection.execute(_FOLD)


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

    Facts are keyed by kind, attribute, scope and id.
    """

    def __init__(self) -> None:
        self.senders: defaultdict[tuple[str, str], tuple[_FactTimes, list[_NameTimes]]] = defaultdict(_no_times)

    def add(self, subject: Subject, attribute: str, scope: str, statement: Statement) -> None:
        """Adds a fact."""
        kind, number = subject
        facts, _ = self.senders[statement.issuer, statement.sub]
        facts[kind][attribute][scope][number] = to_microseconds(statement.stated_at) if statement.stated_at else 0

    def add_names(self, stated: StatedNames) -> None:
        """Adds names."""
        _, names = self.senders[stated.issuer, stated.sub]
        names.append(_NameTimes(stated.namespace_path, stated.is_limited, stated.users, stated.times))

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
