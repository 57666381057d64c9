"""Where the events of a former path are now, by the directory."""

from itertools import accumulate

from functions.shared.postgres import Connection

type _Subject = tuple[str, int]

_READ = """
    SELECT 'namespace', id, path, NULL
    FROM namespaces
    WHERE id = ANY(%(namespaces)s::bigint[])
    UNION ALL
    SELECT 'project', id, namespace_path, NULL
    FROM projects
    WHERE id = ANY(%(projects)s::bigint[])
    UNION ALL
    SELECT kind, id, NULL, old_path
    FROM namespace_moves
    WHERE (kind = 'namespace' AND id = ANY(%(namespaces)s::bigint[]))
       OR (kind = 'project' AND id = ANY(%(projects)s::bigint[]))
"""

_MAX_ID = 2**63 - 1


class Places:
    """What the directory says of namespaces and projects, read once each.

    The result does not depend on the order of moves, so that events which several moves concern end at one place.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._paths: dict[_Subject, str | None] = {}
        self._former: dict[_Subject, set[str]] = {}
        self._places: dict[tuple[str, int | None], str] = {}

    def of(self, path: str, project: int | None = None) -> str:
        """Returns where an event is now that is stored at a path, and perhaps has a project."""
        key = path, project
        if key not in self._places:
            place = path
            while (moved := self._step(place, project)) != place:
                place = moved
            self._places[key] = place
        return self._places[key]

    def _step(self, path: str, project: int | None) -> str:
        """Follows one move: that of the project, or of the deepest namespace that moved from this path.

        Each step after the first concerns a deeper namespace or the project, so the steps end.
        """
        namespaces = _namespaces_on(path)
        self._read([number for number, _ in namespaces], project)
        if project is not None:
            place = self._paths["project", project]
            if place == path:
                return path
            if place is not None and path in self._former["project", project]:
                return place
        for number, prefix in reversed(namespaces):
            place = self._paths["namespace", number]
            if place == prefix:
                return path
            if place is not None and prefix in self._former["namespace", number]:
                return place + path.removeprefix(prefix)
        return path

    def _read(self, namespaces: list[int], project: int | None) -> None:
        unread: list[_Subject] = [("namespace", number) for number in namespaces]
        if project is not None:
            unread.append(("project", project))
        unread = [subject for subject in unread if subject not in self._paths]
        if not unread:
            return
        self._paths |= dict.fromkeys(unread)
        self._former |= {subject: set() for subject in unread}
        values = {f"{kind}s": [number for of, number in unread if of == kind] for kind in ("namespace", "project")}
        for kind, number, path, former in self._connection.execute(_READ, values):
            if path is not None:
                self._paths[kind, number] = path
            if former is not None:
                self._former[kind, number].add(former)


def _namespaces_on(path: str) -> list[tuple[int, str]]:
    """Returns id and path of each namespace on a path, root first; anything else that a client stored has none."""
    parts = path.split("/")[:-1]
    if not path.endswith("/") or not all(part.isascii() and part.isdecimal() for part in parts):
        return []
    prefixes = accumulate(f"{part}/" for part in parts)
    return [(int(part), prefix) for part, prefix in zip(parts, prefixes, strict=True) if int(part) <= _MAX_ID]
