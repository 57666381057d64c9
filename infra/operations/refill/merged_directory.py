"""Adds to the directory of a PostgreSQL that was put back what only ClickHouse's copy has.

Facts and names are stated again by those who stated them, as of then: the newest counts, whichever store has it, and
what follows from it is written as always. Records of operators are added if they are missing. Transaction numbers of
moves are translated; see `infra.operations.refill.thresholds`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import batched, groupby
from operator import itemgetter
from typing import Any, LiteralString, NamedTuple

from psycopg import sql

from functions.ingest.directory.fact import Facts, Statement, Subject
from functions.ingest.directory.subjects import change_subjects
from functions.ingest.directory.user_names import change_names
from functions.ingest.directory.users import StatedNames
from functions.shared.directory_lock import next_version
from functions.shared.postgres import Connection
from functions.shared.timestamp import to_microseconds
from functions.sync.kept_directory import TABLES
from infra.operations.refill.directory import KeptDirectory
from infra.operations.refill.kept_events import Excluded
from infra.operations.refill.thresholds import Translation

_AT_ONCE = 1_000

NOT_MERGED = frozenset({"sync_state", "namespace_moves_in_clickhouse", "reprocessings"})
"""Tables of which the database's own rows alone count. What a run changed after the moment, it has to change again."""

_RAISE_VERSION = """
    UPDATE directory_version
    SET number = greatest(number, (SELECT max(number) FROM kept_directory_version))
"""

# Who is being erased does not come back: users, and namespaces with all that either server knew to be below them.
_LEAVE_OUT = (
    "CREATE TEMPORARY TABLE left_out (kind text, id bigint) ON COMMIT DROP",
    """
    INSERT INTO left_out
    SELECT 'user', unnest(%(users)s::bigint[])
    UNION
    SELECT 'namespace', id
    FROM kept_namespaces
    JOIN unnest(%(paths)s::text[]) AS erased ON starts_with(path, erased)
    UNION
    SELECT 'project', id
    FROM kept_projects
    JOIN unnest(%(paths)s::text[]) AS erased ON starts_with(namespace_path, erased)
    UNION
    SELECT within.*
    FROM (
        SELECT kind, subject, namespace_ids, project_ids FROM erasures
        UNION ALL
        SELECT kind, subject, namespace_ids, project_ids FROM kept_erasures
    ) AS erasure
    CROSS JOIN LATERAL (
        SELECT 'namespace', unnest(namespace_ids)
        UNION ALL
        SELECT 'project', unnest(project_ids)
    ) AS within
    WHERE erasure.kind = 'namespace' AND erasure.subject = ANY(%(paths)s)
    """,
    """
    DELETE FROM kept_user_names
    WHERE user_id = ANY(%(users)s)
       OR EXISTS (SELECT FROM unnest(%(paths)s::text[]) AS path WHERE starts_with(namespace_path, path))
    """,
    "DELETE FROM kept_users WHERE ('user', id) IN (SELECT kind, id FROM left_out)",
    "DELETE FROM kept_facts WHERE (kind, id) IN (SELECT kind, id FROM left_out)",
    "DELETE FROM kept_namespaces WHERE ('namespace', id) IN (SELECT kind, id FROM left_out)",
    "DELETE FROM kept_projects WHERE ('project', id) IN (SELECT kind, id FROM left_out)",
    """
    UPDATE kept_directory_changes
    SET before = '{}', after = '{}'
    WHERE (kind, id) IN (SELECT kind, id FROM left_out)
    """,
    """
    UPDATE kept_exports
    SET subject = NULL
    WHERE kind = 'user' AND subject = ANY(%(users)s::bigint[]::text[])
    """,
)

_DIFFERING_FACTS = """
    SELECT kind, id, attribute, scope, kept.value, kept.stated_at, kept.issuer, kept.sub, kept.namespaces,
        kept.first_received_at
    FROM kept_facts AS kept
    LEFT JOIN facts AS known USING (kind, id, attribute, scope)
    WHERE known.kind IS NULL
       OR (coalesce(kept.stated_at, 'epoch'), coalesce(kept.value, ''), kept.issuer, kept.sub)
           > (coalesce(known.stated_at, 'epoch'), coalesce(known.value, ''), known.issuer, known.sub)
       OR kept.first_received_at < known.first_received_at
    ORDER BY kind, id
"""

_ADD_USERS = """
    INSERT INTO users (id, username, last_activity_on)
    SELECT id, username, last_activity_on
    FROM kept_users
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET last_activity_on = greatest(users.last_activity_on, excluded.last_activity_on)
    WHERE users.last_activity_on IS DISTINCT FROM greatest(users.last_activity_on, excluded.last_activity_on)
"""

_DIFFERING_NAMES = """
    SELECT user_id, namespace_path, kept.username, kept.stated_at, kept.issuer, kept.sub, kept.unlimited_username,
        kept.unlimited_at
    FROM kept_user_names AS kept
    LEFT JOIN user_names AS known USING (user_id, namespace_path)
    WHERE known.user_id IS NULL
       OR (kept.stated_at, coalesce(kept.username, ''), kept.issuer, kept.sub)
           > (known.stated_at, coalesce(known.username, ''), known.issuer, known.sub)
       OR kept.unlimited_at > coalesce(known.unlimited_at, '-infinity')
    ORDER BY user_id
"""

# A row without facts was written by hand.
_ADD_ROW = sql.SQL("""
    INSERT INTO {table} ({columns})
    SELECT {columns}
    FROM {kept} AS kept
    WHERE NOT EXISTS (SELECT FROM facts WHERE facts.kind = {kind} AND facts.id = kept.id)
    ON CONFLICT DO NOTHING
""")

_ADD_MISSING = sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM {kept} ON CONFLICT DO NOTHING")

_CHANGED_MOVES = """
    SELECT kept.kind, kept.id, kept.old_path, kept.new_path, kept.before_xact::text::bigint,
        kept.late_xacts::text[]::bigint[]
    FROM kept_namespace_moves AS kept
    LEFT JOIN namespace_moves AS known USING (kind, id, old_path)
    WHERE known.number IS NULL OR known.before_xact <> kept.before_xact OR NOT known.late_xacts @> kept.late_xacts
    ORDER BY kept.number
"""

# It moves what this server has.
_RESTORE_MOVE = """
    INSERT INTO namespace_moves AS known (kind, id, old_path, new_path, version, before_xact, late_xacts)
    VALUES (
        %(kind)s, %(id)s, %(old_path)s, %(new_path)s, %(version)s, %(before)s::text::xid8, %(late)s::text[]::xid8[]
    )
    ON CONFLICT (kind, id, old_path) DO UPDATE SET
        recorded_at = excluded.recorded_at,
        version = excluded.version,
        opened = known.opened + 1,
        before_xact = excluded.before_xact,
        late_xacts = excluded.late_xacts,
        progress = 0,
        done_at = NULL
"""

# The lost server did not know of these moves, or had yet to copy them: all that comes back follows.
_TAKE_ALONG = """
    UPDATE namespace_moves AS known
    SET opened = opened + 1,
        late_xacts = late_xacts || ARRAY(
            SELECT number::text::xid8 FROM generate_series(%(base)s::bigint + 1, %(last)s) AS number
        ),
        done_at = NULL
    WHERE NOT EXISTS (
        SELECT
        FROM kept_namespace_moves AS kept
        WHERE (kept.kind, kept.id, kept.old_path) = (known.kind, known.id, known.old_path)
    )
"""

_ADD_RESTATED = "INSERT INTO restated_facts (statements) SELECT statements FROM kept_restated_facts"

_ADD_CHANGES = sql.SQL("""
    INSERT INTO directory_changes ({columns})
    SELECT {columns} FROM kept_directory_changes
    EXCEPT ALL
    SELECT {columns} FROM directory_changes
""")

# ClickHouse has done what the erasure asked for, and PostgreSQL has all of it again.
_REPEAT_ERASURES = """
    UPDATE erasures
    SET clickhouse = kept.clickhouse
    FROM kept_erasures AS kept
    WHERE (erasures.kind, erasures.requested_at) = (kept.kind, kept.requested_at)
      AND erasures.finished_at IS NULL AND kept.finished_at IS NOT NULL
"""

_ADD_ERASURES = """
    INSERT INTO erasures (
        kind, subject, namespace_ids, project_ids, requested_by, requested_at, repels_until, counts, postgresql,
        clickhouse, finished_at
    )
    SELECT kind, subject, namespace_ids, project_ids, requested_by, requested_at, repels_until, counts,
        CASE WHEN subject IS NULL THEN postgresql ELSE 'unfinished' END,
        clickhouse,
        CASE WHEN subject IS NULL THEN finished_at END
    FROM kept_erasures AS kept
    WHERE NOT EXISTS (
        SELECT FROM erasures AS known WHERE (known.kind, known.requested_at) = (kept.kind, kept.requested_at)
    )
    ORDER BY id
"""

_FORGOTTEN_ERASURES = """
    SELECT count(*)
    FROM kept_erasures AS kept
    WHERE kind = 'user' AND subject IS NULL AND NOT EXISTS (
        SELECT FROM erasures AS known WHERE (known.kind, known.requested_at) = (kept.kind, kept.requested_at)
    )
"""

# Nothing but an erasure removes a user. This server may have got new users since.
_ERASED_USERS = """
    SELECT id
    FROM users
    WHERE NOT EXISTS (SELECT FROM kept_users WHERE kept_users.id = users.id)
      AND NOT EXISTS (SELECT FROM left_out WHERE (left_out.kind, left_out.id) = ('user', users.id))
      AND NOT EXISTS (SELECT FROM kept_erasures WHERE (kind, subject) = ('user', users.id::text))
    ORDER BY id
"""

# A namespace that moved after the moment, and was erased then, is where it was before. The last id of a path is that of
# its namespace, so nothing else is there.
_ERASE_WHERE_THEY_ARE = """
    WITH present AS MATERIALIZED (
        SELECT erasures.id AS erasure, namespaces.id AS namespace, path
        FROM erasures
        JOIN namespaces ON namespaces.id = ANY(namespace_ids)
        WHERE kind = 'namespace' AND finished_at IS NULL AND NOT starts_with(path, subject)
    )
    INSERT INTO erasures (
        kind, subject, namespace_ids, requested_by, requested_at, repels_until, postgresql, clickhouse
    )
    SELECT kind, path, ARRAY[namespace], requested_by, requested_at, repels_until, postgresql, clickhouse
    FROM present
    JOIN erasures ON erasures.id = present.erasure
    WHERE NOT EXISTS (
        SELECT
        FROM present AS above
        WHERE above.erasure = present.erasure AND above.path <> present.path AND starts_with(present.path, above.path)
    )
    ORDER BY erasures.id
"""

_ADD_EXPORTS = """
    INSERT INTO exports (kind, subject, requested_by, requested_at, counts, finished_at)
    SELECT kind, subject, requested_by, requested_at, counts, finished_at
    FROM kept_exports AS kept
    WHERE NOT EXISTS (
        SELECT FROM exports AS known WHERE (known.kind, known.requested_at) = (kept.kind, kept.requested_at)
    )
    ORDER BY id
"""

# The shards of a day may have been folded in one store alone. What was erased there stays erased.
_ADD_USAGE = """
    WITH counted AS (
        SELECT day, tenant, sum(events) AS events, sum(stored) AS stored, sum(bytes) AS bytes
        FROM tenant_usage
        GROUP BY day, tenant
    ),
    kept AS (
        SELECT day, tenant, sum(events) AS events, sum(stored) AS stored, sum(bytes) AS bytes
        FROM kept_tenant_usage
        WHERE tenant <> ALL(%(paths)s)
        GROUP BY day, tenant
    )
    INSERT INTO tenant_usage AS known (day, tenant, shard, events, stored, bytes)
    SELECT day, tenant, 0, greatest(kept.events - coalesce(counted.events, 0), 0),
        greatest(kept.stored - coalesce(counted.stored, 0), 0), greatest(kept.bytes - coalesce(counted.bytes, 0), 0)
    FROM kept
    LEFT JOIN counted USING (day, tenant)
    WHERE (kept.events, kept.stored, kept.bytes)
        IS DISTINCT FROM (counted.events, counted.stored, counted.bytes)
    ON CONFLICT (day, tenant, shard) DO UPDATE SET
        events = known.events + excluded.events,
        stored = known.stored + excluded.stored,
        bytes = known.bytes + excluded.bytes
"""

# What an earlier refill had yet to bring, this one does.
_FINISH_REFILLS = "UPDATE refills SET finished_at = now() WHERE finished_at IS NULL"

_TAKE_ORIGIN = "UPDATE directory_origin SET id = kept.id FROM kept_directory_origin AS kept"

_FORGET_FORMER = "DELETE FROM put_back_from"


class Move(NamedTuple):
    """A move that was recorded, or had to be repeated, after the moment.

    Attributes:
        before: number of the lost server's first transaction whose rows stay.
        late: numbers of later transactions whose rows move all the same.
    """

    kind: str
    id: int
    old_path: str
    new_path: str
    before: int
    late: Sequence[int]


class Merging(NamedTuple):
    """The merging of a kept directory into a present one, within one transaction that holds the directory's lock.

    Attributes:
        columns: columns that the kept rows have, by table.
    """

    connection: Connection
    excluded: Excluded
    columns: dict[str, list[str]]

    @classmethod
    def of(cls, connection: Connection, kept: KeptDirectory, excluded: Excluded) -> "Merging":
        """Loads what is kept."""
        names = [table.name for table in TABLES if table.name not in NOT_MERGED]
        merging = cls(connection, excluded, {name: kept.load(connection, name) for name in names})
        for statement in _LEAVE_OUT:
            connection.execute(statement, excluded._asdict())
        return merging

    def moves(self) -> list[Move]:
        """Returns the moves of which this server does not know, or not all. Call it before `merge`."""
        return [Move(*row) for row in self.connection.execute(_CHANGED_MOVES)]

    def forgotten_erasures(self) -> tuple[int, list[int]]:
        """Returns the number of erasures of which only their times are known, and the users whom they may have erased.

        Call it before `merge`.
        """
        ((number,),) = self.connection.execute(_FORGOTTEN_ERASURES).fetchall()
        return number, [user for (user,) in self.connection.execute(_ERASED_USERS)] if number else []

    def merge(self, moves: Sequence[Move], translation: Translation) -> dict[str, int]:
        """Writes what is missing; returns the number of rows, by table."""
        self.connection.execute(_RAISE_VERSION)
        added = {name: self._add_missing(name) for name in ("releases", "event_types", "payload_keys", "refills")}
        self.connection.execute(_FINISH_REFILLS)
        added["users"] = self.connection.execute(_ADD_USERS).rowcount
        added["facts"] = self._state_facts()
        added["user_names"] = self._state_names()
        for table, kind in (("namespaces", "namespace"), ("projects", "project")):
            added[table] = self._add_missing(table, _ADD_ROW, kind=sql.Literal(kind))
        added["namespace_moves"] = self._restore_moves(moves, translation)
        added["directory_changes"] = self._add_missing("directory_changes", _ADD_CHANGES)
        self.connection.execute(_REPEAT_ERASURES)
        for table, statement in (
            ("restated_facts", _ADD_RESTATED),
            ("erasures", _ADD_ERASURES),
            ("exports", _ADD_EXPORTS),
            ("tenant_usage", _ADD_USAGE),
        ):
            added[table] = self.connection.execute(statement, self.excluded._asdict()).rowcount
        added["erasures"] += self.connection.execute(_ERASE_WHERE_THEY_ARE).rowcount
        self.connection.execute(_TAKE_ORIGIN)
        self.connection.execute(_FORGET_FORMER)
        return added

    def _add_missing(self, table: str, statement: sql.SQL = _ADD_MISSING, **parts: sql.Composable) -> int:
        if not self.columns[table]:
            return 0
        parts |= {
            "table": sql.Identifier(table),
            "kept": sql.Identifier(f"kept_{table}"),
            "columns": sql.SQL(", ").join(map(sql.Identifier, self.columns[table])),
        }
        return self.connection.execute(statement.format(**parts)).rowcount

    def _state_facts(self) -> int:
        number = 0
        with self._rows("differing_facts", _DIFFERING_FACTS) as rows:
            for some in batched(_stated_facts(rows), _AT_ONCE, strict=False):
                change_subjects(dict(some), self.connection)
                number += sum(len(facts) for _, facts in some)
        return number

    def _state_names(self) -> int:
        number = 0
        with self._rows("differing_names", _DIFFERING_NAMES) as rows:
            for some in batched(rows, _AT_ONCE, strict=False):
                change_names([one for row in some for one in _stated_names(*row)], self.connection)
                number += len(some)
        return number

    @contextmanager
    def _rows(self, name: str, statement: LiteralString) -> Iterator[Iterator[Any]]:
        """Opens a cursor of the server: the rows of a whole directory may not fit into memory."""
        with self.connection.cursor(name=name) as cursor:
            cursor.itersize = _AT_ONCE
            yield iter(cursor.execute(statement))

    def _restore_moves(self, moves: Sequence[Move], translation: Translation) -> int:
        if moves:
            version = next_version(self.connection)
            values = [
                {
                    **move._asdict(),
                    "version": version,
                    "before": translation.of(move.before),
                    "late": [str(translation.of(one)) for one in move.late],
                }
                for move in moves
            ]
            self.connection.cursor().executemany(_RESTORE_MOVE, values)
        self.connection.execute(_TAKE_ALONG, {"base": translation.base, "last": translation.last})
        return len(moves)


def _stated_facts(rows: Iterable[Any]) -> Iterator[tuple[Subject, Facts]]:
    """Yields each subject with the statements that its rows tell of."""
    for subject, of_subject in groupby(rows, itemgetter(0, 1)):
        yield (
            subject,
            {
                (attribute, scope): Statement(value, stated_at, issuer, sub, tuple(namespaces), received_at)
                for _, _, attribute, scope, value, stated_at, issuer, sub, namespaces, received_at in of_subject
            },
        )


def _stated_names(
    user: int, path: str, name: str | None, stated_at: Any, issuer: str, sub: str, unlimited: str | None, at: Any
) -> list[StatedNames]:
    """Returns the statements that a name's row tells of: the newest, and the newest of senders without a limit."""

    def stated(name: str | None, moment: Any, *, is_limited: bool) -> StatedNames:
        return StatedNames(path, is_limited, issuer, sub, [user], [name], [to_microseconds(moment)])

    newest = stated(name, stated_at, is_limited=True)
    return [newest] if at is None else [newest, stated(unlimited, at, is_limited=False)]
