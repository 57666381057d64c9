"""Caches facts from PostgreSQL, so that a consumer queries only new and changed ones."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

import msgspec

from functions.ingest.directory.fact import Attribute, Facts, Kind, Statement, Subject, is_contested
from functions.shared.postgres import Connection

MAX_SUBJECTS = 100_000
MAX_NAMES = 500_000

_VERSION = "SELECT number, rows_removed_in FROM directory_version"

_CHANGED = "SELECT DISTINCT kind, id FROM facts WHERE changed_in > %s"

_CHANGED_NAMES = "SELECT namespace_path, user_id FROM user_names WHERE changed_in > %s"

# JSON is transferred in a fraction of the time of arrays.
_READ = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%s::json) AS wanted (kind text, id bigint)
    )
    SELECT kind, id, attribute, scope, value, stated_at, issuer, sub, namespaces, first_received_at
    FROM wanted
    JOIN facts USING (kind, id)
"""

_READ_ROWS = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%s::json) AS wanted (kind text, id bigint)
    )
    SELECT kind, id, path, full_path
    FROM wanted
    JOIN namespaces USING (id)
    WHERE kind = 'namespace'
    UNION ALL
    SELECT kind, id, namespace_path, full_path
    FROM wanted
    JOIN projects USING (id)
    WHERE kind = 'project'
"""

_READ_USERS = """
    SELECT id, username, last_activity_on
    FROM users
    WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint))
"""

_NOTHING: Facts = {}


class KnownFacts:
    """A cache of the facts in PostgreSQL. `refresh` removes entries that other consumers changed.

    The times of cached facts may be outdated. The cache belongs to one connection, because a restored database has a
    new connection.

    Attributes:
        names: newest names by namespace path (empty without a namespace) and user id.
        usernames: overall name by user id; None if nobody named the user.
        active_on: day of the last activity by user id.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empties the cache. Call it if the transaction that read the facts was rolled back."""
        self._connection: Connection | None = None
        self._version = -1
        self._facts: dict[Subject, Facts] = {}
        self._contested: set[Subject] = set()
        self.names: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
        self.usernames: dict[int, str | None] = {}
        self.active_on: dict[int, date] = {}

    def refresh(self, connection: Connection) -> None:
        """Removes facts that changed since the last call; everything if rows were deleted."""
        row = connection.execute(_VERSION).fetchone()
        version, rows_removed_in = (int(row[0]), int(row[1])) if row else (0, 0)
        is_outdated = version < self._version or rows_removed_in > self._version
        if connection is not self._connection or is_outdated or self._is_large():
            self.forget()
            self._connection, self._version = connection, version
        if version > self._version:
            for kind, number in connection.execute(_CHANGED, [self._version]):
                self._facts.pop((kind, number), None)
            for path, user in connection.execute(_CHANGED_NAMES, [self._version]):
                self.names[path].pop(user, None)
                self.usernames.pop(user, None)
            self._version = version

    def _is_large(self) -> bool:
        return len(self._facts) > MAX_SUBJECTS or sum(map(len, self.names.values())) > MAX_NAMES

    def facts(self, subject: Subject) -> Facts:
        """Returns the facts of a subject that was read before."""
        return self._facts.get(subject, _NOTHING)

    def read(self, subjects: Iterable[Subject], connection: Connection) -> None:
        """Loads the facts of the subjects that are not in the cache."""
        unread = [subject for subject in subjects if subject not in self._facts]
        if unread:
            read = read_facts(unread, connection)
            self._facts.update(read)
            held = {(kind, number): full_path for kind, number, _, full_path in _rows(unread, connection)}
            self._contested -= read.keys()
            self._contested |= {subject for subject, facts in read.items() if is_contested(facts, held.get(subject))}

    def is_contested(self, subject: Subject) -> bool:
        """Whether the mere time of a statement may change a value, because statements with other values compete."""
        return subject in self._contested

    def read_users(self, user_ids: Iterable[int], connection: Connection) -> None:
        """Loads the users that are not in the cache."""
        unread = {user for user in user_ids if user not in self.usernames}
        if unread:
            for user, name, active_on in connection.execute(_READ_USERS, [_json(unread)]):
                self.usernames[user] = name
                if active_on is not None:
                    self.active_on[user] = active_on


def read_facts(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, Facts]:
    """Loads the facts of namespaces and projects. Rows that were written by hand count as statements."""
    found: dict[Subject, dict[tuple[Attribute, str], Statement]] = {subject: {} for subject in subjects}
    for kind, number, attribute, scope, *statement in connection.execute(_READ, [_subjects(found)]):
        value, stated_at, issuer, sub, namespaces, first_received_at = statement
        found[kind, number][attribute, scope] = Statement(
            value, stated_at, issuer, sub, tuple(namespaces), first_received_at
        )
    without = [subject for subject, facts in found.items() if not facts]
    if without:
        for kind, number, path, full_path in _rows(without, connection):
            if path is not None:
                found[kind, number]["path", ""] = Statement(path, None)
            if full_path is not None:
                found[kind, number]["full_path", ""] = Statement(full_path, None)
    return dict(found)


def _rows(subjects: Iterable[Subject], connection: Connection) -> Iterable[tuple[Kind, int, str | None, str | None]]:
    return connection.execute(_READ_ROWS, [_subjects(subjects)])


def _subjects(subjects: Iterable[Subject]) -> str:
    return _json([{"kind": kind, "id": number} for kind, number in subjects])


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
