"""Reads which users and namespaces were erased, so that events which were sent before are not stored."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from functions.ingest.event.concerned import Concerned, concerned_by
from functions.ingest.postgres.events import RejectedRow
from functions.ingest.postgres.row import Row
from functions.shared.postgres import Connection

# Whoever reads the table holds a lock on it until the transaction ends. An erasure waits for those who read the table
# before its own row was there.
_ACTIVE = """
    SELECT kind, subject, requested_at, namespace_ids, project_ids
    FROM erasures
    WHERE repels_until > now() AND subject IS NOT NULL
"""

# The directory has forgotten an erased namespace, but late events may still name a path from which it moved.
_FORMER = """
    SELECT kind, id, old_path
    FROM namespace_moves
    WHERE (kind = 'namespace' AND id = ANY(%s::bigint[])) OR (kind = 'project' AND id = ANY(%s::bigint[]))
"""


class ErasedNamespace(msgspec.Struct, frozen=True):
    """A namespace that was erased with all below it.

    Attributes:
        namespace_ids: ids of the namespaces that lay within `path`.
        project_ids: ids of the projects that lay within `path`.
        former_paths: paths from which these namespaces moved.
        former_places: id and former path of each of these projects that moved.
    """

    path: str
    requested_at: datetime
    namespace_ids: frozenset[int]
    project_ids: frozenset[int]
    former_paths: tuple[str, ...] = ()
    former_places: frozenset[tuple[int, str]] = frozenset()

    def includes(self, concerned: Concerned) -> bool:
        """Whether an event lies within the namespace."""
        return concerned.lies_within(
            self.path, self.namespace_ids, self.project_ids, self.former_paths, self.former_places
        )


class Erasures(msgspec.Struct, frozen=True):
    """The erasures that events may still be on their way for.

    Attributes:
        users: time of the newest erasure by user id.
    """

    users: Mapping[int, datetime]
    namespaces: tuple[ErasedNamespace, ...]

    def __bool__(self) -> bool:
        return bool(self.users or self.namespaces)

    def may_repel(self, rows: Iterable[Row]) -> bool:
        """Whether an erasure may concern one of the rows; a fast check."""
        paths = tuple(path for namespace in self.namespaces for path in (namespace.path, *namespace.former_paths))
        places = frozenset[tuple[int | None, str | None]]().union(*(one.former_places for one in self.namespaces))
        return any(
            row.user_id in self.users
            or (paths and (row.namespace_path is None or row.namespace_path.startswith(paths)))
            or (row.project_id, row.namespace_path) in places
            for row in rows
        )

    def repel(self, concerned: Concerned, received_at: datetime) -> bool:
        """Whether an event was sent before its user or namespace was erased."""
        for user_id in concerned.user_ids & self.users.keys():
            if received_at < self.users[user_id]:
                return True
        return any(received_at < one.requested_at and one.includes(concerned) for one in self.namespaces)

    def repel_rejected(self, row: RejectedRow) -> bool:
        """Whether all events of a rejected row were sent before their users or namespaces were erased."""
        concerned = concerned_by(row.body, row.sender_grant)
        return bool(concerned) and all(self.repel(one, row.received_at) for one in concerned)


NO_ERASURES = Erasures({}, ())


def active_erasures(connection: Connection) -> Erasures:
    """Returns the erasures that events may still be on their way for. Call it within the transaction that writes."""
    rows = connection.execute(_ACTIVE).fetchall()
    if not rows:
        return NO_ERASURES
    users, namespaces = dict[int, datetime](), list[ErasedNamespace]()
    for kind, subject, requested_at, namespace_ids, project_ids in rows:
        if kind == "user":
            users[int(subject)] = max(requested_at, users.get(int(subject), requested_at))
        else:
            former = former_places(connection, namespace_ids, project_ids)
            within = frozenset(namespace_ids), frozenset(project_ids)
            namespaces.append(ErasedNamespace(subject, requested_at, *within, *former))
    return Erasures(users, tuple(namespaces))


def former_places(
    connection: Connection, namespace_ids: Iterable[int], project_ids: Iterable[int]
) -> tuple[tuple[str, ...], frozenset[tuple[int, str]]]:
    """Returns the paths from which the namespaces moved, and the id and former path of each project that moved."""
    rows = connection.execute(_FORMER, [list(namespace_ids), list(project_ids)]).fetchall()
    paths = tuple(old_path for kind, _, old_path in rows if kind == "namespace")
    return paths, frozenset((number, old_path) for kind, number, old_path in rows if kind == "project")
