"""Reads what the directory has of a user or a namespace."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import batched

import msgspec

from functions.ingest.directory.known_facts import read_facts
from functions.shared.postgres import Connection
from infra.operations.erasure.subject import Kind, Subject, Within

_SUBJECTS_AT_ONCE = 500

_USER = "SELECT id, username, last_activity_on FROM users WHERE id = %(user_id)s"

_NAMES: dict[Kind, str] = {
    "user": """
        SELECT user_id, nullif(namespace_path, ''), username, stated_at, issuer, sub
        FROM user_names
        WHERE user_id = %(user_id)s
        ORDER BY namespace_path
    """,
    "namespace": """
        SELECT user_id, nullif(namespace_path, ''), username, stated_at, issuer, sub
        FROM user_names
        WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
        ORDER BY namespace_path, user_id
    """,
}


class UserLine(msgspec.Struct, tag_field="record", tag="user"):
    """The line of a user. `username` is the overall name."""

    id: int
    username: str | None
    last_activity_on: date | None


class NameLine(msgspec.Struct, tag_field="record", tag="name"):
    """The line of a user's name in a namespace, and of who stated it. Both are empty if the queue did."""

    user_id: int
    namespace_path: str | None
    username: str | None
    stated_at: datetime
    issuer: str
    sub: str


class FactLine(msgspec.Struct):
    """One statement about a namespace or project."""

    attribute: str
    value: str | None
    stated_at: datetime | None
    issuer: str
    sub: str


class DirectoryLine(msgspec.Struct):
    """The line of a namespace or project."""

    record: str
    id: int
    facts: list[FactLine]


def name_lines(connection: Connection, subject: Subject) -> Iterator[UserLine | NameLine]:
    """Yields the names of the user, or the names that were stated in the namespace."""
    if subject.kind == "user":
        for row in connection.execute(_USER, subject.values()):
            yield UserLine(*row)
    for row in connection.execute(_NAMES[subject.kind], subject.values()):
        yield NameLine(*row)


def directory_lines(connection: Connection, within: Within) -> Iterator[DirectoryLine]:
    """Yields the namespaces and projects within a namespace of which anything is known."""
    for some in batched(within.directory_subjects(), _SUBJECTS_AT_ONCE, strict=False):
        for (kind, number), facts in read_facts(some, connection).items():
            if facts:
                lines = [
                    FactLine(attribute, fact.value, fact.stated_at, fact.issuer, fact.sub)
                    for (attribute, _), fact in facts.items()
                ]
                yield DirectoryLine(kind, number, lines)
