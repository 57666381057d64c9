"""Writing to PostgreSQL what events say of namespaces, projects and users.

Most statements change nothing. Their times count all the same, for an older statement of another value must not come
after them. A batch writes the times of all that it states again as one row (`restated_facts`); meanwhile it holds the
directory's lock, together with other batches that do so. A batch that changes a value holds the lock alone. It first
writes what others have stated again into the facts, and compares then.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from functions.ingest.directory import Directory, merged
from functions.ingest.known_facts import KnownFacts, read_facts
from functions.ingest.users import Users
from functions.shared.fact import Claim, Facts, Kind, Statement, Subject, full_path_of, holders, path_of
from functions.shared.postgres import Connection, Database

MAX_RESTATED_BATCHES = 200
"""So many rows of `restated_facts` wait at most, about, until their times are written into the facts."""

_DIRECTORY_LOCK = 4_197_002
_FOLDING_LOCK = 4_197_007

_LOCK_TOGETHER = "SELECT pg_advisory_xact_lock_shared(%s)"

_LOCK_ALONE = "SELECT pg_advisory_xact_lock(%s)"

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"

_NEXT_VERSION = "UPDATE directory_version SET number = number + 1 RETURNING number"

_RESTATE = """
    INSERT INTO restated_facts (statements) VALUES (%s)
    RETURNING (SELECT count(*) FROM restated_facts)
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
        SELECT named.key::bigint AS user_id, place.key AS namespace_path,
            timestamptz 'epoch' + named.value::bigint * interval '1 microsecond' AS stated_at, issuer, sub
        FROM senders, json_each(names) AS place, json_each_text(place.value) AS named
    ),
    newest_names AS (
        SELECT DISTINCT ON (user_id, namespace_path) *
        FROM name_times
        ORDER BY user_id, namespace_path, stated_at DESC, issuer COLLATE "C" DESC, sub COLLATE "C" DESC
    ),
    updated_names AS (
        UPDATE user_names AS known
        SET stated_at = newest.stated_at, issuer = newest.issuer, sub = newest.sub
        FROM newest_names AS newest
        WHERE known.user_id = newest.user_id
          AND known.namespace_path = newest.namespace_path
          AND (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
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

_STATE = """
    INSERT INTO facts (
        kind, id, attribute, scope, value, stated_at, issuer, sub, namespaces, first_received_at, changed_in
    )
    SELECT kind, id, attribute, scope, value, stated_at, issuer, sub, namespaces, first_received_at, %(version)s
    FROM json_to_recordset(%(facts)s::json) AS stated (
        kind text, id bigint, attribute text, scope text, value text, stated_at timestamptz, issuer text, sub text,
        namespaces text[], first_received_at timestamptz
    )
    ON CONFLICT (kind, id, attribute, scope) DO UPDATE SET
        value = excluded.value,
        stated_at = excluded.stated_at,
        issuer = excluded.issuer,
        sub = excluded.sub,
        first_received_at = excluded.first_received_at,
        changed_in = excluded.changed_in
"""

_RENAME = """
    INSERT INTO user_names AS known (user_id, namespace_path, username, stated_at, issuer, sub, changed_in)
    SELECT user_id, namespace_path, username, stated_at, issuer, sub, %(version)s
    FROM json_to_recordset(%(names)s::json) AS stated (
        user_id bigint, namespace_path text, username text, stated_at timestamptz, issuer text, sub text
    )
    ON CONFLICT (user_id, namespace_path) DO UPDATE SET
        username = excluded.username,
        stated_at = excluded.stated_at,
        issuer = excluded.issuer,
        sub = excluded.sub,
        changed_in = excluded.changed_in
    WHERE (excluded.stated_at, coalesce(excluded.username, ''), excluded.issuer, excluded.sub)
        > (known.stated_at, coalesce(known.username, ''), known.issuer, known.sub)
"""

# In the order of the key, so that concurrent batches wait but never deadlock.
_NAME = """
    INSERT INTO user_names (user_id, namespace_path, username, stated_at, issuer, sub)
    SELECT user_id, namespace_path, username, stated_at, issuer, sub
    FROM json_to_recordset(%s::json) AS stated (
        user_id bigint, namespace_path text, username text, stated_at timestamptz, issuer text, sub text
    )
    ORDER BY user_id, namespace_path COLLATE "C"
    ON CONFLICT DO NOTHING
"""

# The locks are taken in the order of the ids, so that concurrent batches wait but never deadlock.
_WRITE_USERS = """
    WITH said AS MATERIALIZED (
        SELECT *
        FROM json_to_recordset(%s::json) AS said (id bigint, active_on date, username text)
    )
    INSERT INTO users (id, username, last_activity_on)
    SELECT said.id, said.username, said.active_on
    FROM said
    LEFT JOIN users USING (id)
    WHERE users.id IS NULL
       OR users.last_activity_on IS NULL
       OR users.last_activity_on < said.active_on
       OR users.username IS DISTINCT FROM coalesce(said.username, users.username)
    ORDER BY said.id
    ON CONFLICT (id) DO UPDATE SET
        username = CASE
            WHEN NOT EXISTS (SELECT FROM user_names WHERE user_id = users.id AND user_names.username IS NULL)
            THEN coalesce(users.username, excluded.username)
            ELSE users.username
        END,
        last_activity_on = greatest(users.last_activity_on, excluded.last_activity_on)
    RETURNING id, username
"""

_WRITE_NEWEST_NAMES = """
    WITH newest AS (
        SELECT DISTINCT ON (user_id) user_id, username
        FROM user_names
        WHERE user_id = ANY(%s)
        ORDER BY user_id, stated_at DESC, username DESC NULLS LAST
    )
    UPDATE users
    SET username = newest.username
    FROM newest
    WHERE users.id = newest.user_id AND users.username IS DISTINCT FROM newest.username
"""

_CLAIMANTS = """
    SELECT kind, id FROM facts WHERE attribute = 'full_path' AND value = ANY(%(full_paths)s)
    UNION
    SELECT 'namespace', id FROM namespaces WHERE full_path = ANY(%(full_paths)s)
    UNION
    SELECT 'project', id FROM projects WHERE full_path = ANY(%(full_paths)s)
"""

# A full path moves from one row to another: it is first taken from all that change, then given.
_WRITE_PLACES: dict[Kind, tuple[str, str, str]] = {
    "namespace": (
        "DELETE FROM namespaces WHERE id = ANY(%(gone)s)",
        "UPDATE namespaces SET full_path = NULL WHERE id = ANY(%(changed)s) AND full_path IS NOT NULL",
        """
        INSERT INTO namespaces (id, path, full_path)
        SELECT * FROM unnest(%(ids)s::bigint[], %(paths)s::text[], %(full_paths)s::text[])
        ON CONFLICT (id) DO UPDATE SET path = excluded.path, full_path = excluded.full_path
        """,
    ),
    "project": (
        "DELETE FROM projects WHERE id = ANY(%(gone)s)",
        "UPDATE projects SET full_path = NULL WHERE id = ANY(%(changed)s) AND full_path IS NOT NULL",
        """
        INSERT INTO projects (id, namespace_path, full_path)
        SELECT * FROM unnest(%(ids)s::bigint[], %(paths)s::text[], %(full_paths)s::text[])
        ON CONFLICT (id) DO UPDATE SET namespace_path = excluded.namespace_path, full_path = excluded.full_path
        """,
    ),
}

_READ_PLACES = """
    SELECT 'namespace', id, path, full_path FROM namespaces WHERE id = ANY(%(namespaces)s)
    UNION ALL
    SELECT 'project', id, namespace_path, full_path FROM projects WHERE id = ANY(%(projects)s)
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

type _Stated = Mapping[Subject, Facts]


class _MustBeAlone(Exception):
    """A batch that holds the lock together with others would change a value."""


class FactWriter:
    """Writes what a batch says, beside what is known."""

    def __init__(self, directory: Directory, users: Users, known: KnownFacts) -> None:
        self._directory = directory
        self._users = users
        self._known = known
        self._waiting = 0

    def write(self, connection: Connection) -> None:
        """Writes it. Belongs at the end of the transaction in which the events are stored, for others wait then."""
        self._directory.collect()
        if not self._directory.stated and not self._users.users:
            return
        writing = _Writing(self._directory.stated, self._users, self._known, connection)
        writing.read()
        try:
            self._waiting = writing.write(alone=writing.changes_values())
        except _MustBeAlone:
            self._known.forget()  # it read what it had written itself, which is undone
            self._waiting = writing.write(alone=True)

    def after_commit(self, database: Database) -> None:
        """Keeps in mind what was written, and puts in order what batches have left."""
        remember(self._users, self._known)
        if self._waiting > MAX_RESTATED_BATCHES:
            database.run(_fold)


def _fold(connection: Connection) -> None:
    with connection.transaction():
        if connection.execute(_TRY_LOCK, [_FOLDING_LOCK]).fetchone() == (True,):
            connection.execute(_FOLD)


@contextmanager
def directory_held_alone(connection: Connection) -> Iterator[None]:
    """A transaction in which nobody else changes or restates a fact, and all facts have the times of their newest."""
    with connection.transaction():
        connection.execute(_LOCK_ALONE, [_DIRECTORY_LOCK])
        connection.execute(_FOLD)
        yield


def change_places(stated: _Stated, connection: Connection) -> None:
    """Writes what was stated of namespaces and projects, and what follows. Belongs within `directory_held_alone`."""
    before = read_facts(stated, connection)
    after = {subject: merged(before[subject], statements) for subject, statements in stated.items()}
    rows = [_row(subject, *key, statement) for subject, facts in after.items() for key, statement in facts.items()]
    connection.execute(_STATE, {"facts": _json(rows), "version": next_version(connection)})
    full_paths = {
        statement.value
        for facts in (*before.values(), *after.values())
        for (attribute, _), statement in facts.items()
        if attribute == "full_path"
    }
    settle(stated, full_paths, connection)


def change_names(stated: Iterable[tuple[str, int, Statement]], connection: Connection) -> None:
    """Writes names of users in namespaces, and what follows. Belongs within `directory_held_alone`."""
    stated = list(stated)
    values = {"names": _names(stated), "version": next_version(connection)}
    connection.execute(_RENAME, values)
    connection.execute(_WRITE_NEWEST_NAMES, [list({user for _, user, _ in stated})])


def next_version(connection: Connection) -> int:
    """The number of the change that is made now."""
    row = connection.execute(_NEXT_VERSION).fetchone()
    if row is None:
        raise AssertionError("directory_version has one row")
    return int(row[0])


def settle(subjects: Iterable[Subject], full_paths: Set[str | None], connection: Connection) -> None:
    """Makes `namespaces` and `projects` say what follows from the facts.

    Args:
        subjects: those of which something was stated, or taken back.
        full_paths: those that they claim, or claimed before: another may have them now.
    """
    present = _places(subjects, connection)
    full_paths = full_paths | {full_path for _, full_path in present.values()}
    claimants = connection.execute(_CLAIMANTS, {"full_paths": [one for one in full_paths if one is not None]})
    changed = set(subjects)
    facts = read_facts(changed | {(kind, number) for kind, number in claimants}, connection)
    paths, claims = dict[Subject, str | None](), defaultdict[str, list[Claim]](list)
    for subject, stated in facts.items():
        place = path_of(stated)
        paths[subject] = place.value if place else None
        full_path = full_path_of(stated, paths[subject])
        if full_path is not None and full_path.value is not None:
            claims[full_path.value].append(Claim(subject, paths[subject], full_path))
    held = {subject: full_path for full_path, all_claims in claims.items() for subject in holders(all_claims)}
    concerned = changed | {claim.subject for full_path in full_paths if full_path for claim in claims[full_path]}
    _write_places({subject: (paths[subject], held.get(subject)) for subject in concerned}, connection)


def _places(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, tuple[str | None, str | None]]:
    ids: dict[str, list[int]] = {"namespaces": [], "projects": []}
    for kind, number in subjects:
        ids[f"{kind}s"].append(number)
    rows = connection.execute(_READ_PLACES, ids)
    return {(kind, number): (path, full_path) for kind, number, path, full_path in rows}


def _write_places(places: Mapping[Subject, tuple[str | None, str | None]], connection: Connection) -> None:
    present = _places(places, connection)
    for kind, statements in _WRITE_PLACES.items():
        changed = {
            number: place
            for (of_kind, number), place in sorted(places.items())
            if of_kind == kind and place != present.get((kind, number), (None, None))
        }
        kept = {number: place for number, place in changed.items() if place[0] or (place[1] and kind == "project")}
        values = {
            "gone": [number for number in changed if number not in kept],
            "changed": list(changed),
            "ids": list(kept),
            "paths": [path for path, _ in kept.values()],
            "full_paths": [full_path for _, full_path in kept.values()],
        }
        for statement in statements if changed else ():
            connection.execute(statement, values)


class _Writing:
    """What a batch says, beside what is known."""

    def __init__(self, stated: _Stated, users: Users, known: KnownFacts, connection: Connection) -> None:
        self._stated = stated
        self._users = users
        self._known = known
        self._connection = connection

    def read(self) -> None:
        """Reads what is known of all that the batch speaks of."""
        self._known.refresh(self._connection)
        self._known.read(self._stated, self._connection)

    def changes_values(self) -> bool:
        """Whether the batch may change what is known, rather than say it again."""
        return bool(self._changed_places()) or bool(self._renamed())

    def write(self, *, alone: bool) -> int:
        """Writes what the batch says, and returns how many rows of `restated_facts` wait.

        Raises:
            _MustBeAlone: the lock was not held alone, though a value is to be changed.
        """
        if alone:
            with directory_held_alone(self._connection):
                self.read()
                self._known.read_names(self._users.names, self._connection)
                self._known.read_users(self._users.users, self._connection)
                changed = self._changed_places()
                if changed:
                    change_places({subject: self._stated[subject] for subject in changed}, self._connection)
                self._rename()
                waiting = self._restate(set(changed))
        else:
            with self._connection.transaction():
                self._connection.execute(_LOCK_TOGETHER, [_DIRECTORY_LOCK])
                self.read()
                if self.changes_values() or not self._add_users():
                    raise _MustBeAlone
                waiting = self._restate(set())
        return waiting

    def _changed_places(self) -> list[Subject]:
        return [subject for subject, stated in self._stated.items() if _may_change(self._known.facts(subject), stated)]

    def _renamed(self) -> list[tuple[str, int, Statement]]:
        """The names that differ from those known, in their namespace or overall."""
        renamed = []
        usernames = self._known.usernames
        for scope, names in self._users.names.items():
            known = self._known.names[scope]
            for user, statement in names.items():
                name = statement.value
                if known.get(user, name) != name or usernames.get(user) not in (None, name):
                    renamed.append((scope, user, statement))
        return renamed

    def _rename(self) -> None:
        """Writes names that may differ from those known, and of their users the newest."""
        renamed = self._renamed()
        if renamed:
            change_names(renamed, self._connection)
        users = {user for _, user, _ in renamed} | self._new_users().keys()
        self._add_users()
        self._connection.execute(_WRITE_NEWEST_NAMES, [list(users)])

    def _add_users(self) -> bool:
        """Writes names of users in namespaces where they may have had none, and who was active.

        Returns:
            Whether all is as the batch says: nobody else wrote another name of theirs.
        """
        return self._add_names() and self._write_users()

    def _add_names(self) -> bool:
        named = [
            (path, user, statement)
            for path, names in self._users.names.items()
            for user, statement in names.items()
            if user not in self._known.names[path]
        ]
        if not named or self._connection.execute(_NAME, [_names(named)]).rowcount == len(named):
            return True
        self._known.read_names(self._users.names, self._connection)
        return not self._renamed()

    def _write_users(self) -> bool:
        users = self._new_users()
        if not users:
            return True
        written = self._connection.execute(_WRITE_USERS, [_json(list(users.values()))])
        return all(users[number]["username"] in (None, username) for number, username in written)

    def _new_users(self) -> dict[int, dict[str, Any]]:
        """The users of whom `users` does not say yet what it is to say."""
        known = self._known
        return {
            number: {"id": number, "active_on": user.active_on, "username": user.name and user.name.value}
            for number, user in self._users.users.items()
            if known.active_on.get(number, date.min) < user.active_on
            or (user.name is not None and known.usernames.get(number) is None)
        }

    def _restate(self, changed: Set[Subject]) -> int:
        """Writes the times of what is known already, and returns how many rows of them wait."""
        restated = _Restated()
        for subject, stated in self._stated.items():
            if subject not in changed:
                known = self._known.facts(subject)
                for (attribute, scope), statement in stated.items():
                    if statement.value == known[attribute, scope].value:
                        restated.add(subject, attribute, scope, statement)
        for scope, names in self._users.names.items():
            known_names = self._known.names[scope]
            for user, statement in names.items():
                if known_names.get(user) == statement.value:
                    restated.add_name(user, scope, statement)
        if not restated.senders:
            return 0
        row = self._connection.execute(_RESTATE, [restated.text()]).fetchone()
        return int(row[0]) if row else 0


class _Restated:
    """When facts and names were stated again, by who did so; in microseconds since 1970.

    Facts are by kind, attribute, scope and id, names by namespace path and user.
    """

    def __init__(self) -> None:
        self.senders: defaultdict[tuple[str, str], tuple[_FactTimes, _NameTimes]] = defaultdict(_no_times)

    def add(self, subject: Subject, attribute: str, scope: str, statement: Statement) -> None:
        """Adds a fact, which has a time."""
        kind, number = subject
        facts, _ = self.senders[statement.issuer, statement.sub]
        facts[kind][attribute][scope][number] = _microseconds(statement)

    def add_name(self, user: int, path: str, statement: Statement) -> None:
        """Adds a name, which has a time."""
        _, names = self.senders[statement.issuer, statement.sub]
        names[path][user] = _microseconds(statement)

    def text(self) -> str:
        """The content of a row of `restated_facts`."""
        return _json(
            [
                {"issuer": issuer, "sub": sub, "facts": facts, "names": names}
                for (issuer, sub), (facts, names) in self.senders.items()
            ]
        )


type _FactTimes = defaultdict[str, defaultdict[str, defaultdict[str, dict[int, int]]]]
type _NameTimes = defaultdict[str, dict[int, int]]


def _no_times() -> tuple[_FactTimes, _NameTimes]:
    return defaultdict(lambda: defaultdict(lambda: defaultdict(dict))), defaultdict(dict)


def _microseconds(statement: Statement) -> int:
    return ((statement.stated_at or _EPOCH) - _EPOCH) // _MICROSECOND


def remember(users: Users, known: KnownFacts) -> None:
    """Keeps in mind what was committed of users; what was changed is read again, for it has another version."""
    for scope, names in users.names.items():
        known_names = known.names[scope]
        for user, statement in names.items():
            known_names.setdefault(user, statement.value)
    for number, named in users.users.items():
        known.active_on[number] = max(named.active_on, known.active_on.get(number, date.min))
        if named.name is not None and known.usernames.get(number) is None:
            known.usernames[number] = named.name.value


def _may_change(known: Facts, stated: Facts) -> bool:
    """Whether something that was stated is new, or may be newer than what is known; its time may be later by now."""
    return any(key not in known or _may_replace(statement, known[key]) for key, statement in stated.items())


def _may_replace(statement: Statement, known: Statement) -> bool:
    if known.stated_at is None or (statement.value != known.value and statement.order > known.order):
        return True
    return (
        statement.first_received_at is not None
        and known.first_received_at is not None
        and statement.first_received_at < known.first_received_at
    )


def _row(subject: Subject, attribute: str, scope: str, statement: Statement) -> dict[str, Any]:
    values = msgspec.structs.asdict(statement)
    return {"kind": subject[0], "id": subject[1], "attribute": attribute, "scope": scope} | values


def _names(stated: Iterable[tuple[str, int, Statement]]) -> str:
    return _json(
        [
            {
                "user_id": user,
                "namespace_path": path,
                "username": statement.value,
                "stated_at": statement.stated_at,
                "issuer": statement.issuer,
                "sub": statement.sub,
            }
            for path, user, statement in stated
        ]
    )


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
