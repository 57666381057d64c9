"""Where the events of a former path are now, by the directory."""

from itertools import accumulate

from functions.shared.postgres import Connection

type _Subject = tuple[str, int]

_READ = """
    SELECT 'place', 'namespace', id, path
    FROM namespaces
    WHERE id = ANY(%(namespaces)s::bigint[])
    UNION ALL
    SELECT 'place', 'project', id, namespace_path
    FROM projects
    WHERE id = ANY(%(projects)s::bigint[])
    UNION ALL
    SELECT 'former', kind, id, old_path
    FROM namespace_moves
    WHERE (kind = 'namespace' AND id = ANY(%(namespaces)s::bigint[]))
       OR (kind = 'project' AND id = ANY(%(projects)s::bigint[]))
    UNION ALL
    SELECT 'known', kind, id, value
    FROM facts
    WHERE attribute = 'known_path'
      AND ((kind = 'namespace' AND id = ANY(%(namespaces)s::bigint[]))
        OR (kind = 'project' AND id = ANY(%(projects)s::bigint[])))
"""

_MAX_ID = 2**63 - 1


class _Known:
    """What the directory says of one namespace or project.

    Attributes:
        place: path where the subject is; for a project, that of its namespace.
        former: paths that the subject left, and those where senders without a limit knew it.
        parents: ids of the namespaces in which senders without a limit knew the subject.
    """

    def __init__(self) -> None:
        self.place: str | None = None
        self.former: set[str] = set()
        self.parents: set[int] = set()


class Places:
    """What the directory says of namespaces and projects, read once each.

    The result does not depend on the order of moves, so that events which several moves concern end at one place.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[_Subject, _Known] = {}
        self._places: dict[tuple[str, int | None], str] = {}

    def of(self, path: str, project: int | None = None) -> str:
        """Returns where an event is now that is stored at a path, and perhaps has a project."""
        key = path, project
        if key not in self._places:
            self._places[key] = self._place(path, project)
        return self._places[key]

    def _place(self, path: str, project: int | None) -> str:
        """Returns the place of the project, or what follows from that of the deepest namespace, if it was at the path.

        What was in a namespace at some time counts as being there at all paths of the namespace: events that moved with
        the namespace may be at a path that nobody stated.
        """
        namespaces = _namespaces_on(path)
        self._read([number for number, _ in namespaces], project)
        was_there = self._were_there(namespaces)
        if project is not None:
            known = self._known["project", project]
            is_below = bool(namespaces) and was_there[-1] and namespaces[-1][0] in known.parents
            if known.place is not None and (path in known.former or is_below):
                return known.place
        for (number, prefix), was in zip(reversed(namespaces), reversed(was_there), strict=True):
            place = self._known["namespace", number].place
            if place is not None and was:
                return place + path.removeprefix(prefix)
        return path

    def _were_there(self, namespaces: list[tuple[int, str]]) -> list[bool]:
        """Returns for each namespace on a path, root first, whether it was there at some time."""
        were_there, parent = list[bool](), None
        for number, prefix in namespaces:
            known = self._known["namespace", number]
            is_below = parent is not None and were_there[-1] and parent in known.parents
            were_there.append(prefix == known.place or prefix in known.former or is_below)
            parent = number
        return were_there

    def _read(self, namespaces: list[int], project: int | None) -> None:
        unread: list[_Subject] = [("namespace", number) for number in namespaces]
        if project is not None:
            unread.append(("project", project))
        unread = [subject for subject in unread if subject not in self._known]
        if not unread:
            return
        self._known |= {subject: _Known() for subject in unread}
        values = {f"{kind}s": [number for of, number in unread if of == kind] for kind in ("namespace", "project")}
        for source, kind, number, path in self._connection.execute(_READ, values):
            known = self._known[kind, number]
            if path is None:
                continue
            if source == "place":
                known.place = path
            else:
                known.former.add(path)
            if source == "known":
                above = _namespaces_on(path) if kind == "project" else _namespaces_on(path)[:-1]
                known.parents.update(identifier for identifier, _ in above[-1:])


def _namespaces_on(path: str) -> list[tuple[int, str]]:
    """Returns id and path of each namespace on a path, root first; anything else that a client stored has none."""
    parts = path.split("/")[:-1]
    if not path.endswith("/") or not all(part.isascii() and part.isdecimal() for part in parts):
        return []
    prefixes = accumulate(f"{part}/" for part in parts)
    return [(int(part), prefix) for part, prefix in zip(parts, prefixes, strict=True) if int(part) <= _MAX_ID]
