"""What events say about namespaces and projects: learned, looked up, and written where it changed."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import msgspec

from functions.shared.event import Event
from functions.shared.grant import Grant
from functions.shared.place import Place, StatedProject
from functions.shared.postgres import Connection

type Table = Literal["namespaces", "projects"]
type Key = tuple[Table, int]

# Held while the directory is changed, so that two batches don't claim one full path; nothing else locks this number.
_DIRECTORY_LOCK = 4_197_002

_LOCK = "SELECT pg_advisory_xact_lock(%s)"

# JSON is passed on in a fraction of the time that lists take.
_READ = """
    SELECT 'namespaces', id, path, full_path
    FROM namespaces
    WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(namespaces)s::json)::bigint))
       OR full_path = ANY(ARRAY(SELECT json_array_elements_text(%(full_paths)s::json)))
    UNION ALL
    SELECT 'projects', id, namespace_path, full_path
    FROM projects
    WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(projects)s::json)::bigint))
       OR full_path = ANY(ARRAY(SELECT json_array_elements_text(%(full_paths)s::json)))
"""

# A full path moves from one row to another: it is first taken from all that change, then given.
_WRITE: dict[Table, tuple[str, str]] = {
    "namespaces": (
        "UPDATE namespaces SET full_path = NULL WHERE id = ANY(%(ids)s) AND full_path IS NOT NULL",
        """
        INSERT INTO namespaces (id, path, full_path)
        SELECT * FROM unnest(%(ids)s::bigint[], %(paths)s::text[], %(full_paths)s::text[])
        ON CONFLICT (id) DO UPDATE SET path = excluded.path, full_path = excluded.full_path
        """,
    ),
    "projects": (
        "UPDATE projects SET full_path = NULL WHERE id = ANY(%(ids)s) AND full_path IS NOT NULL",
        """
        INSERT INTO projects (id, namespace_path, full_path)
        SELECT * FROM unnest(%(ids)s::bigint[], %(paths)s::text[], %(full_paths)s::text[])
        ON CONFLICT (id) DO UPDATE SET namespace_path = excluded.namespace_path, full_path = excluded.full_path
        """,
    ),
}


class Entry(msgspec.Struct, frozen=True):
    """What is known of a namespace or project: its (namespace's) traversal path and its full path."""

    path: str | None = None
    full_path: str | None = None


class Fact(msgspec.Struct, frozen=True):
    """What an event says about a namespace or project, and with which grant."""

    table: Table
    id: int
    path: str | None
    full_path: str | None
    sender: Grant


_UNKNOWN = Entry()


def _json(values: set[int] | set[str]) -> str:
    return msgspec.json.encode(values).decode()


class Directory:
    """The namespaces and projects that a batch of events has to do with."""

    def __init__(self) -> None:
        self._noted: dict[tuple[int, int, int], tuple[Place, StatedProject, Grant]] = {}
        self._facts: dict[tuple[object, ...], Fact] = {}
        self._namespaces: set[int] = set()
        self._projects: set[int] = set()
        self._entries: dict[Key, Entry] = {}
        self._holders: defaultdict[str | None, set[Key]] = defaultdict(set)
        self._changed: set[Key] = set()

    def note(self, event: Event, sender: Grant) -> None:
        """Keeps in mind what the event says and asks; `learn` makes use of it."""
        said = (event.namespace, event.project, sender)
        key = (id(event.namespace), id(event.project), id(sender))  # many events share these very objects
        self._noted.pop(key, None)
        self._noted[key] = said  # said again, it is the newest

    def _collect(self) -> None:
        """Makes facts of what was noted."""
        for namespace, project, sender in self._noted.values():
            for place in (namespace, project.namespace):
                if place.id is not None:
                    self._namespaces.add(place.id)
                    if place.path is not None:
                        self._add("namespaces", place.id, place.path, place.full_path, sender)
            if project.id is not None:
                self._projects.add(project.id)
                path = project.namespace.path or namespace.path
                if path is not None or project.full_path is not None:
                    self._add("projects", project.id, path, project.full_path, sender)
        self._noted.clear()

    def _add(self, table: Table, number: int, path: str | None, full_path: str | None, sender: Grant) -> None:
        said = (table, number, path, full_path, id(sender))
        fact = self._facts.pop(said, None) or Fact(table, number, path, full_path, sender)
        self._facts[said] = fact  # said again, it is the newest

    def learn(self, connection: Connection) -> None:
        """Reads what is known of all that was noted, and applies the facts that their senders may state."""
        self._collect()
        self._entries.clear()
        self._holders.clear()
        self._changed.clear()
        self._read(connection)
        for fact in self._facts.values():
            self._apply(fact)

    def look_up_projects(self, project_ids: Iterable[int | None], connection: Connection) -> None:
        """Reads further projects, so that `namespace_path` knows them."""
        unread = {project_id for project_id in project_ids if project_id is not None} - self._projects
        if unread:
            self._read(connection, projects=unread)
            self._projects |= unread

    def namespace_path(self, event: Event, project_id: int | None = None) -> str | None:
        """The namespace that the event belongs to: its own, else its project's, else that of its namespace's id.

        Args:
            project_id: the project that a transformation named.
        """
        if event.explicit_path is not None:
            return event.explicit_path
        for project in (event.project.id, project_id):
            if project is not None and (path := self._path(("projects", project))):
                return path
        for place in (event.project.namespace, event.namespace):
            if place.id is not None and (path := self._path(("namespaces", place.id))):
                return path
        return None

    def write(self, connection: Connection) -> None:
        """Writes what changed. Belongs within a transaction."""
        self.learn(connection)
        if not self._changed:
            return
        connection.execute(_LOCK, [_DIRECTORY_LOCK])
        self.learn(connection)
        for table, statements in _WRITE.items():
            ids = sorted(number for changed, number in self._changed if changed == table)
            entries = [self._entries[table, number] for number in ids]
            values = {
                "ids": ids,
                "paths": [entry.path for entry in entries],
                "full_paths": [entry.full_path for entry in entries],
            }
            for statement in statements if ids else ():
                connection.execute(statement, values)

    def _path(self, key: Key) -> str | None:
        return self._entries.get(key, _UNKNOWN).path

    def _read(self, connection: Connection, projects: set[int] | None = None) -> None:
        values = {
            "namespaces": _json(self._namespaces),
            "projects": _json(self._projects if projects is None else projects),
            "full_paths": _json({fact.full_path for fact in self._facts.values() if fact.full_path}),
        }
        for table, number, path, full_path in connection.execute(_READ, values):
            self._entries.setdefault((table, number), Entry(path, full_path))
            self._holders[full_path].add((table, number))

    def _apply(self, fact: Fact) -> None:
        key = (fact.table, fact.id)
        known = self._entries.get(key, _UNKNOWN)
        if fact.path in (None, known.path) and fact.full_path in (None, known.full_path):
            return
        path = fact.path or known.path
        if not fact.sender.covers(path) or not (known.path is None or fact.sender.covers(known.path)):
            return
        full_path = known.full_path
        if fact.full_path not in (None, full_path):
            holders = list(self._holders[fact.full_path])
            if all(fact.sender.covers(self._path(holder)) for holder in holders):
                full_path = fact.full_path
                for holder in holders:
                    if holder[0] == fact.table:
                        self._set(holder, Entry(self._path(holder)))
        self._set(key, Entry(path, full_path))

    def _set(self, key: Key, entry: Entry) -> None:
        known = self._entries.get(key, _UNKNOWN)
        if known != entry:
            self._holders[known.full_path].discard(key)
            self._holders[entry.full_path].add(key)
            self._entries[key] = entry
            self._changed.add(key)
