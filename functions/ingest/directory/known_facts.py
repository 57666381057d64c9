"""Caches facts from PostgreSQL, so that a consumer queries only new and changed ones."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

import msgspec

from functions.ingest.directory.fact import Facts, Kind, PropertyName, Statement, Subject, is_contested, unlimited_path
from functions.ingest.directory.place import may_be_elsewhere
from functions.ingest.event.location import lineage
from functions.shared.postgres import Connection

MAX_SUBJECTS = 100_000
MAX_NAMES = 500_000

_VERSION = "SELECT number, rows_removed_in FROM directory_version"

_CHANGED = "SELECT DISTINCT kind, id FROM facts WHERE changed_in > %s"

# Names follow a move, so that the rows of before no longer exist.
_MOVED = "SELECT old_path FROM namespace_moves WHERE kind = 'namespace' AND version > %s"

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


class KnownFacts:
    """A cache of the facts in PostgreSQL. `refresh` removes entries that other consumers changed.

    The times of cached facts may be outdated. The cache belongs to one connection, because a restored database has a
    new connection.

    Attributes:
        names: newest names by namespace path (empty without a namespace) and user id.
        version: version of the directory that the facts are of.
        usernames: overall name by user id; None if nobody named the user.
        active_on: day of the last activity by user id.
        others_name_users: whether users had names lately that were not in the cache, because others wrote them.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empties the cache. Call it if the transaction that read the facts was rolled back."""
        self._connection: Connection | None = None
        self.version = -1
        self._facts: dict[Subject, Facts] = {}
        self._traced = set[Subject]()
        self._paths: dict[Subject, str | None] = {}
        self._movable: dict[tuple[str, int | None], bool] = {}
        self._contested: set[Subject] = set()
        self.names: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
        self.usernames: dict[int, str | None] = {}
        self.active_on: dict[int, date] = {}
        self.others_name_users = True

    def refresh(self, connection: Connection) -> None:
        """Removes facts that changed since the last call; everything if rows were deleted."""
        row = connection.execute(_VERSION).fetchone()
        version, rows_removed_in = (int(row[0]), int(row[1])) if row else (0, 0)
        is_outdated = version < self.version or rows_removed_in > self.version
        if connection is not self._connection or is_outdated or self._is_large():
            self.forget()
            self._connection, self.version = connection, version
        if version > self.version:
            for kind, number in connection.execute(_CHANGED, [self.version]):
                self._facts.pop((kind, number), None)
            self._movable.clear()
            self._traced.clear()
            for (moved,) in connection.execute(_MOVED, [self.version]):
                for path in [path for path in self.names if path.startswith(moved)]:
                    del self.names[path]
            for path, user in connection.execute(_CHANGED_NAMES, [self.version]):
                self.names[path].pop(user, None)
                self.usernames.pop(user, None)
            self.version = version

    def holds(self, subjects: Iterable[Subject]) -> bool:
        """Whether the facts of all these subjects were read before."""
        return all(map(self._facts.__contains__, subjects))

    @property
    def state(self) -> tuple[Connection | None, int]:
        """Returns the connection and version that the facts are of."""
        return self._connection, self.version

    def _is_large(self) -> bool:
        return (
            max(len(self._facts), len(self._movable)) > MAX_SUBJECTS or sum(map(len, self.names.values())) > MAX_NAMES
        )

    def facts(self, subject: Subject) -> Facts:
        """Returns the facts of a subject that was read before.

        Raises:
            KeyError: it was not read, so that nothing may be concluded from it.
        """
        return self._facts[subject]

    def read(self, subjects: Iterable[Subject], connection: Connection) -> None:
        """Loads the facts of the subjects that are not in the cache."""
        unread = [subject for subject in subjects if subject not in self._facts]
        if unread:
            read = read_facts(unread, connection)
            self._facts.update(read)
            held = {(kind, number): held for kind, number, *held in _rows(unread, connection)}
            unknown = None, None
            self._paths.update((subject, held.get(subject, unknown)[0]) for subject in read)
            self._contested -= read.keys()
            self._contested |= {
                subject for subject, facts in read.items() if is_contested(facts, *held.get(subject, unknown))
            }

    def read_places(self, paths: Iterable[str], projects: Iterable[int], connection: Connection) -> None:
        """Loads what decides where these paths and projects are now: the namespaces on them, and those on their paths.

        A subject in the cache does not tell whether those on its path are there, because these change by themselves.
        """
        untraced = _namespaces_on(paths)
        untraced.update(("project", project) for project in projects)
        while untraced := untraced - self._traced:
            self.read(untraced, connection)
            self._traced |= untraced
            stated = [unlimited_path(self._facts[subject]) for subject in untraced]
            untraced = _namespaces_on(statement.value or "" for statement in stated if statement is not None)

    def path(self, subject: Subject) -> str | None:
        """Returns the path of a subject that was read before."""
        return self._paths.get(subject)

    def may_be_elsewhere(self, path: str, project_id: int | None) -> bool:
        """Whether an event at this path may belong elsewhere; `read_places` must have read both."""
        key = path, project_id
        if key not in self._movable:
            self._movable[key] = may_be_elsewhere(path, project_id, self.facts)
        return self._movable[key]

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
    found: dict[Subject, dict[tuple[PropertyName, str], Statement]] = {subject: {} for subject in subjects}
    for kind, number, property_name, limit, *statement in connection.execute(_READ, [_subjects(found)]):
        value, stated_at, issuer, sub, namespaces, first_received_at = statement
        found[kind, number][property_name, limit] = Statement(
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


def read_with_places(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, Facts]:
    """Loads the facts of namespaces and projects, and of all namespaces that may decide where these are."""
    found, unread = dict[Subject, Facts](), set(subjects)
    while unread:
        read = read_facts(unread, connection)
        found |= read
        stated = [
            one for facts in read.values() for (property_name, _), one in facts.items() if property_name != "full_path"
        ]
        unread = _namespaces_on(one.value or "" for one in stated) - found.keys()
    return found


def _namespaces_on(paths: Iterable[str]) -> set[Subject]:
    return {("namespace", number) for path in paths for number, _ in lineage(path)}


def _rows(subjects: Iterable[Subject], connection: Connection) -> Iterable[tuple[Kind, int, str | None, str | None]]:
    return connection.execute(_READ_ROWS, [_subjects(subjects)])


def _subjects(subjects: Iterable[Subject]) -> str:
    return _json([{"kind": kind, "id": number} for kind, number in subjects])


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
