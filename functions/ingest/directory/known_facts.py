"""What a consumer keeps in mind of the facts in PostgreSQL, so that it asks only for what is new or was changed."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

import msgspec

from functions.ingest.directory.fact import Attribute, Facts, Kind, Statement, Subject
from functions.shared.postgres import Connection

MAX_SUBJECTS = 100_000
MAX_NAMES = 500_000

_VERSION = "SELECT number FROM directory_version"

_CHANGED = "SELECT DISTINCT kind, id FROM facts WHERE changed_in > %s"

_CHANGED_NAMES = "SELECT namespace_path, user_id FROM user_names WHERE changed_in > %s"

# JSON is passed on in a fraction of the time that lists take.
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
    """Facts as PostgreSQL has them; `refresh` forgets what others changed.

    The times of facts may be later by now than they are known. All of it is of one connection: where a database was
    restored, it is reached by another one.

    Attributes:
        names: the names that were stated last of users, by namespace path (empty without one) and user.
        usernames: the name of each user that counts overall; None where nobody named the user.
        active_on: the day of each user's last activity.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forgets everything, as it must where what was read is undone."""
        self._connection: Connection | None = None
        self._version = -1
        self._facts: dict[Subject, Facts] = {}
        self._contested: set[Subject] = set()
        self.names: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
        self.usernames: dict[int, str | None] = {}
        self.active_on: dict[int, date] = {}

    def refresh(self, connection: Connection) -> None:
        """Forgets what was changed since the last time."""
        row = connection.execute(_VERSION).fetchone()
        version = int(row[0]) if row else 0
        if connection is not self._connection or version < self._version or self._is_large():
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
        """What was stated of a namespace or project that was read."""
        return self._facts.get(subject, _NOTHING)

    def read(self, subjects: Iterable[Subject], connection: Connection) -> None:
        """Reads what was stated of those of the namespaces and projects that are not known."""
        unread = [subject for subject in subjects if subject not in self._facts]
        if unread:
            read = read_facts(unread, connection)
            self._facts.update(read)
            held = {(kind, number): full_path for kind, number, _, full_path in _rows(unread, connection)}
            self._contested -= read.keys()
            self._contested |= {subject for subject, facts in read.items() if _is_contested(facts, held.get(subject))}

    def is_contested(self, subject: Subject) -> bool:
        """Whether a statement changes something by its time alone, for it counts against another of another value."""
        return subject in self._contested

    def read_users(self, user_ids: Iterable[int], connection: Connection) -> None:
        """Reads those of the users that are not known."""
        unread = {user for user in user_ids if user not in self.usernames}
        if unread:
            for user, name, active_on in connection.execute(_READ_USERS, [_json(unread)]):
                self.usernames[user] = name
                if active_on is not None:
                    self.active_on[user] = active_on


def read_facts(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, Facts]:
    """What was stated of the namespaces and projects; of a row that was written by hand, what it says."""
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


def _is_contested(facts: Facts, held_full_path: str | None) -> bool:
    """Whether senders with several limits state something, or the full path is another's."""
    attributes = [attribute for attribute, _ in facts]
    claimed = {statement.value for (attribute, _), statement in facts.items() if attribute == "full_path"}
    return len(attributes) > len(set(attributes)) or claimed - {None} != {held_full_path} - {None}


def _subjects(subjects: Iterable[Subject]) -> str:
    return _json([{"kind": kind, "id": number} for kind, number in subjects])


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
