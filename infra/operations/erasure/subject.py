"""The user or namespace that is erased or exported."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from functions.ingest.directory.fact import Subject as DirectorySubject
from functions.ingest.event.concerned import Concerned
from functions.ingest.event.location import namespace_id_of
from functions.ingest.postgres.erasures import former_places
from functions.shared.postgres import Connection
from functions.shared.traversal_path import namespace_upper_bound

type Kind = Literal["user", "namespace"]

_IN_CLICKHOUSE: dict[Kind, str] = {
    "user": "user_id = {user_id:UInt64}",
    "namespace": "startsWith(namespace_path, {path:String})",
}

# The newest path of a namespace or project decides whether it lies within. One that was erased before has no path any
# more, but events that name its id alone may still be on their way.
_WITHIN = """
    SELECT
        ARRAY(
            SELECT id FROM namespaces WHERE path >= %(low)s AND path < %(high)s
            UNION
            SELECT unnest(namespace_ids) FROM erasures WHERE kind = 'namespace' AND subject = %(subject)s
        ),
        ARRAY(
            SELECT id FROM projects WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
            UNION
            SELECT unnest(project_ids) FROM erasures WHERE kind = 'namespace' AND subject = %(subject)s
        )
"""


class Subject(msgspec.Struct, frozen=True):
    """A user, or a namespace with everything below it.

    Attributes:
        name: id of the user, or traversal path of the namespace.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"

    def values(self) -> dict[str, Any]:
        """Returns the values for the parameters of PostgreSQL's statements, which depend on the kind."""
        if self.kind == "user":
            return {"kind": self.kind, "subject": self.name, "user_id": int(self.name)}
        bounds = {"low": self.name, "high": namespace_upper_bound(self.name)}
        return {"kind": self.kind, "subject": self.name} | bounds

    @property
    def clickhouse_condition(self) -> str:
        """The condition that selects the rows in ClickHouse."""
        return _IN_CLICKHOUSE[self.kind]

    @property
    def clickhouse_values(self) -> dict[str, Any]:
        """The values for the parameters of `clickhouse_condition`."""
        return {"user_id": int(self.name)} if self.kind == "user" else {"path": self.name}


class Within(msgspec.Struct, frozen=True):
    """What belongs to a subject.

    Attributes:
        namespace_ids: ids of the namespaces within the erased one.
        project_ids: ids of the projects within it.
        former_paths: paths from which these namespaces moved.
        former_places: id and former path of each of these projects that moved.
    """

    subject: Subject
    namespace_ids: frozenset[int] = frozenset()
    project_ids: frozenset[int] = frozenset()
    former_paths: tuple[str, ...] = ()
    former_places: frozenset[tuple[int, str]] = frozenset()

    def includes(self, concerned: Concerned) -> bool:
        """Whether an event belongs to the subject."""
        if self.subject.kind == "user":
            return int(self.subject.name) in concerned.user_ids
        return concerned.lies_within(
            self.subject.name, self.namespace_ids, self.project_ids, self.former_paths, self.former_places
        )

    def directory_subjects(self) -> Iterator[DirectorySubject]:
        """Yields the namespaces and projects within the namespace."""
        yield from (("namespace", number) for number in sorted(self.namespace_ids))
        yield from (("project", number) for number in sorted(self.project_ids))


def read_within(connection: Connection, subject: Subject) -> Within:
    """Returns what belongs to the subject, according to the directory."""
    if subject.kind == "user":
        return Within(subject)
    row = connection.execute(_WITHIN, subject.values()).fetchone()
    namespaces, projects = row or ((), ())
    namespace_ids, project_ids = frozenset(namespaces) | {namespace_id_of(subject.name)}, frozenset(projects)
    return Within(subject, namespace_ids, project_ids, *former_places(connection, namespace_ids, project_ids))
