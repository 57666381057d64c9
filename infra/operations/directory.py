"""Shows, corrects and forgets facts in the directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from functions.ingest.directory.fact import LONG_AGO, Kind, PropertyName, Statement, Subject
from functions.ingest.directory.known_facts import read_facts
from functions.ingest.directory.subjects import change_subjects
from functions.ingest.directory.user_names import change_names
from functions.ingest.directory.users import StatedNames
from functions.ingest.event.location import lineage
from functions.shared.directory_lock import exclusive_directory_lock
from functions.shared.postgres import Connection
from functions.shared.timestamp import to_microseconds

OPERATOR = "operator"
"""Issuer of an operator's statements."""

type AnyKind = Kind | Literal["user"]

_FIND = """
    SELECT 'namespace', id FROM namespaces WHERE full_path = %(full_path)s
    UNION ALL
    SELECT 'project', id FROM projects WHERE full_path = %(full_path)s
"""

_FACTS_UNTIL_NOW = """
    SELECT greatest(clock_timestamp(), max(stated_at) + interval '1 microsecond')
    FROM facts
    WHERE (kind = %(kind)s AND id = %(id)s) OR (attribute = 'full_path' AND value = %(full_path)s)
"""

_LOCATIONS: dict[Kind, str] = {
    "namespace": "SELECT path, full_path FROM namespaces WHERE id = %s",
    "project": "SELECT namespace_path, full_path FROM projects WHERE id = %s",
}

_USERNAME = "SELECT username FROM users WHERE id = %s"

_NAMES = """
    SELECT namespace_path, username, stated_at, issuer, sub
    FROM user_names
    WHERE user_id = %s
    ORDER BY stated_at DESC, namespace_path
"""

# An operator's statement is the newest, also if a sender stated something for a future time.
_NOW: dict[AnyKind, str] = {
    "namespace": _FACTS_UNTIL_NOW,
    "project": _FACTS_UNTIL_NOW,
    "user": """
        SELECT greatest(clock_timestamp(), max(stated_at) + interval '1 microsecond')
        FROM user_names
        WHERE user_id = %(id)s
    """,
}

_FORGET_LIMITED = "DELETE FROM facts WHERE kind = %s AND id = %s AND scope <> ''"

_FORGET_USERNAME = "UPDATE users SET username = NULL WHERE id = %s"

_MAKE_USER = "INSERT INTO users (id, username) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING"

_RECORD = """
    INSERT INTO directory_changes (changed_by, command, kind, id, before, after)
    VALUES (%(changed_by)s, %(command)s, %(kind)s, %(id)s, %(before)s, %(after)s)
"""


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A statement about a property of a subject.

    Attributes:
        property_name: `path`, `full_path`, or `username` with the namespace in which it applies.
        value: None if the value was forgotten.
        stated_at: None if unknown.
        stated_by: issuer and `sub` of the sender's token, the queue or an operator.
        limit: namespaces to which the sender's statements are limited; empty if unlimited.
    """

    property_name: str
    value: str | None
    stated_at: datetime | None
    stated_by: str
    limit: str


def find(connection: Connection, full_path: str) -> list[Subject]:
    """Returns the namespace and the project that have the full path."""
    return [(kind, number) for kind, number in connection.execute(_FIND, {"full_path": full_path})]


def current(connection: Connection, kind: AnyKind, number: int) -> dict[str, str | None]:
    """Returns the current path and full path, or the current username; None for unknown values."""
    if kind == "user":
        row = connection.execute(_USERNAME, [number]).fetchone()
        return {"username": row[0] if row else None}
    row = connection.execute(_LOCATIONS[kind], [number]).fetchone()
    path, full_path = row or (None, None)
    return {"path": path, "full_path": full_path}


def statements(connection: Connection, kind: AnyKind, number: int) -> list[StatementRow]:
    """Returns all statements about a subject by property, newest first."""
    if kind == "user":
        return [
            StatementRow(f"username in {path or 'no namespace'}", name, stated_at, _sender(issuer, sub, stated_at), "")
            for path, name, stated_at, issuer, sub in connection.execute(_NAMES, [number])
        ]
    facts = read_facts([(kind, number)], connection)[kind, number]
    shown = [(key, one) for key, one in facts.items() if one.stated_at != LONG_AGO]  # others repeat a path
    ordered = sorted(shown, key=lambda item: item[1].order, reverse=True)
    return [
        StatementRow(
            property_name,
            statement.value,
            statement.stated_at,
            _sender(statement.issuer, statement.sub, statement.stated_at),
            ", ".join(statement.namespaces),
        )
        for (property_name, _), statement in sorted(ordered, key=lambda item: item[0][0])
    ]


def set_location(connection: Connection, subject: Subject, values: Mapping[PropertyName, str], operator: str) -> None:
    """States the path or full path of a namespace or project as of now; a project's path is that of its namespace.

    As with any path that a sender without a limit states, no sender with a limit may then state another path for the
    namespaces above.
    """
    with exclusive_directory_lock(connection):
        before = current(connection, *subject)
        state_location(connection, subject, values, operator)
        record(connection, "set", subject, operator, before)


def state_location(connection: Connection, subject: Subject, values: Mapping[PropertyName, str], operator: str) -> None:
    """Like `set_location`, without a record of the command. Requires `exclusive_directory_lock`."""
    now = _now(connection, *subject, full_path=values.get("full_path"))
    change_subjects(_stated(subject, values, now, operator), connection)


def _stated(
    subject: Subject, values: Mapping[PropertyName, str], now: datetime, operator: str
) -> dict[Subject, dict[tuple[PropertyName, str], Statement]]:
    """Returns the statements about a subject, and those that its path makes about the namespaces above."""
    path = values.get("path", "")
    stated: dict[Subject, dict[tuple[PropertyName, str], Statement]] = {
        ("namespace", number): {("known_path", prefix): _statement(prefix, now, operator)}
        for number, prefix in lineage(path)
    }
    stated[subject] = {(property_name, ""): _statement(value, now, operator) for property_name, value in values.items()}
    if path:
        stated[subject]["known_path", path] = Statement(path, LONG_AGO)
    return stated


def set_username(connection: Connection, user: int, username: str, path: str | None, operator: str) -> None:
    """States a user's name as of now, in one namespace, or wherever a name of the user was stated."""
    with exclusive_directory_lock(connection):
        before = current(connection, "user", user)
        connection.execute(_MAKE_USER, [user, username])
        named = [path] if path else [row[0] for row in connection.execute(_NAMES, [user])] or [""]
        now = _now(connection, "user", user)
        change_names([_name(one, user, username, now, operator) for one in named], connection)
        record(connection, "set", ("user", user), operator, before)


def forget(connection: Connection, kind: AnyKind, number: int, operator: str) -> None:
    """Forgets all statements so far; only statements of later times count again."""
    with exclusive_directory_lock(connection):
        before = current(connection, kind, number)
        now = _now(connection, kind, number)
        if kind == "user":
            named = {row[0] for row in connection.execute(_NAMES, [number])} | {""}
            change_names([_name(path, number, None, now, operator) for path in named], connection)
            connection.execute(_FORGET_USERNAME, [number])
        else:
            connection.execute(_FORGET_LIMITED, [kind, number])
            attributes: tuple[PropertyName, ...] = ("path", "full_path", "known_path")
            forgotten = dict.fromkeys(((one, "") for one in attributes), _statement(None, now, operator))
            change_subjects({(kind, number): forgotten}, connection)
        record(connection, "forget", (kind, number), operator, before)


def _now(connection: Connection, kind: AnyKind, number: int, full_path: str | None = None) -> datetime:
    row = connection.execute(_NOW[kind], {"kind": kind, "id": number, "full_path": full_path}).fetchone()
    return row[0] if row else datetime.now(UTC)


def _statement(value: str | None, now: datetime, operator: str) -> Statement:
    return Statement(value, now, OPERATOR, operator)


def _name(path: str, user: int, username: str | None, now: datetime, operator: str) -> StatedNames:
    return StatedNames(
        path,
        is_limited=False,
        issuer=OPERATOR,
        sub=operator,
        users=[user],
        names=[username],
        times=[to_microseconds(now)],
    )


def _sender(issuer: str, sub: str, stated_at: datetime | None) -> str:
    if stated_at is None:
        return "unknown"
    return " ".join(filter(None, (issuer, sub))) or "the queue"


def record(
    connection: Connection, command: str, subject: tuple[AnyKind, int], operator: str, before: Mapping[str, Any]
) -> None:
    """Records an operator's command with the values before and after it."""
    kind, number = subject
    values = {"changed_by": operator, "command": command, "kind": kind, "id": number}
    after = current(connection, kind, number)
    connection.execute(_RECORD, values | {"before": Jsonb(dict(before)), "after": Jsonb(after)})
