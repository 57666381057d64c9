"""Records that namespaces and projects moved, so that the sync function moves what is stored under their old paths."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from functions.ingest.directory.fact import Facts, Statement, Subject
from functions.ingest.directory.place import FactsOf, may_be_elsewhere
from functions.ingest.event.location import lineage
from functions.shared.postgres import Connection
from functions.shared.traversal_path import namespace_upper_bound

# Of the transactions that did not know of the move, those up to this one count, and later ones will have it repeated.
# The directory's lock is held, so that this snapshot has all that ended under the lock.
_RECORD = """
    INSERT INTO namespace_moves AS known (kind, id, old_path, new_path, version, before_xact)
    SELECT kind, id, old_path, new_path, %(version)s, greatest(
        pg_snapshot_xmax(pg_current_snapshot()), (pg_current_xact_id()::text::bigint + 1)::text::xid8
    )
    FROM unnest(%(kinds)s::text[], %(ids)s::bigint[], %(old_paths)s::text[], %(new_paths)s::text[])
        WITH ORDINALITY AS move (kind, id, old_path, new_path, number)
    ORDER BY number
    ON CONFLICT (kind, id, old_path) DO UPDATE SET
        new_path = excluded.new_path,
        recorded_at = excluded.recorded_at,
        version = excluded.version,
        opened = known.opened + 1,
        before_xact = excluded.before_xact,
        progress = 0,
        done_at = NULL
"""

# If the move is known already, only this transaction may have left rows at the old path.
_RECORD_LEFT = """
    INSERT INTO namespace_moves AS known (kind, id, old_path, new_path, version, before_xact)
    SELECT kind, id, old_path, new_path, %(version)s, greatest(
        pg_snapshot_xmax(pg_current_snapshot()), (pg_current_xact_id()::text::bigint + 1)::text::xid8
    )
    FROM unnest(%(kinds)s::text[], %(ids)s::bigint[], %(old_paths)s::text[], %(new_paths)s::text[])
        WITH ORDINALITY AS move (kind, id, old_path, new_path, number)
    ORDER BY number
    ON CONFLICT (kind, id, old_path) DO UPDATE SET
        new_path = excluded.new_path,
        opened = known.opened + 1,
        late_xacts = known.late_xacts || pg_current_xact_id(),
        done_at = NULL
"""

# Rows are locked in the order of their numbers, so that concurrent batches may wait but never deadlock.
_REPEAT = """
    WITH touched AS MATERIALIZED (
        SELECT number
        FROM namespace_moves
        WHERE (kind = 'namespace' AND old_path = ANY(%(late_paths)s::text[]))
           OR (version > %(version)s AND kind = 'namespace' AND old_path = ANY(%(paths)s::text[]))
           OR (version > %(version)s AND kind = 'project' AND id = ANY(%(projects)s::bigint[]))
        ORDER BY number
        FOR UPDATE
    )
    UPDATE namespace_moves
    SET opened = opened + 1, late_xacts = late_xacts || pg_current_xact_id(), done_at = NULL
    FROM touched
    WHERE namespace_moves.number = touched.number
"""

# Rows that were written by hand have no facts.
_BELOW = """
    WITH below AS MATERIALIZED (
        SELECT * FROM unnest(%(paths)s::text[], %(upper_bounds)s::text[]) AS below (path, upper_bound)
    )
    SELECT facts.kind, facts.id
    FROM below
    JOIN facts ON facts.attribute = 'path' AND facts.value >= below.path AND facts.value < below.upper_bound
    UNION
    SELECT 'namespace', namespaces.id
    FROM below
    JOIN namespaces ON namespaces.path >= below.path AND namespaces.path < below.upper_bound
    UNION
    SELECT 'project', projects.id
    FROM below
    JOIN projects ON projects.namespace_path >= below.path AND projects.namespace_path < below.upper_bound
"""


class Move(NamedTuple):
    """A namespace or project whose path was `old_path` and is `new_path`."""

    subject: Subject
    old_path: str
    new_path: str


class Change(NamedTuple):
    """A subject's path before and after a change.

    Attributes:
        held: path of the subject before; None if it was unknown.
        limit: limit of the senders who stated where the subject was; empty if senders without a limit did.
        after: statement that decides the path now; None if none does.
    """

    held: str | None
    limit: tuple[str, ...]
    after: Statement | None


def subjects_below(stated: Mapping[Subject, Facts], views: Collection[FactsOf], connection: Connection) -> set[Subject]:
    """Returns the subjects whose path may follow from these statements about namespaces above.

    Args:
        stated: all statements about the namespaces, before and after the change.
        views: the facts before and after the change.
    """
    paths = {
        statement.value
        for (kind, _), facts in stated.items()
        for (property_name, _), statement in facts.items()
        if kind == "namespace" and property_name in ("path", "known_path") and statement.value is not None
    }
    moved = [path for path in paths if any(may_be_elsewhere(path, None, facts_of) for facts_of in views)]
    if not moved:
        return set()
    values = {"paths": moved, "upper_bounds": [namespace_upper_bound(path) for path in moved]}
    return {(kind, number) for kind, number in connection.execute(_BELOW, values)}


def moves_of(changes: Mapping[Subject, Change], path_of: Callable[[Subject], str | None]) -> Iterator[Move]:
    """Yields the moves that follow from changes, except those that follow from a move of a namespace above.

    Args:
        path_of: returns the path of any namespace after the change.
    """
    moved: dict[tuple[int, str], str] = {}
    for subject, change in sorted(changes.items(), key=_above_first):
        old_path, after = change.held, change.after
        if old_path is None or after is None or after.value in (None, old_path) or not _takes_along(change):
            continue
        namespaces = lineage(old_path)
        if subject[0] == "namespace":
            moved[subject[1], old_path] = after.value
            namespaces = namespaces[:-1]
        if after.value != _place_below(old_path, namespaces, moved, path_of):
            yield Move(subject, old_path, after.value)


def _above_first(item: tuple[Subject, Change]) -> tuple[str, int, Subject]:
    subject, change = item
    return subject[0], len(change.held or ""), subject


def _takes_along(change: Change) -> bool:
    """Whether the stored events follow: a statement with a limit moves no event out of the limit, or into it.

    Otherwise a sender with a limit could put events into a namespace of others, by a path of its own that was never
    right.
    """
    held, limit, after = change
    return (
        held is not None
        and after is not None
        and after.value is not None
        and after.covers(held)
        and (not limit or after.value.startswith(limit))
    )


def _place_below(
    path: str,
    namespaces: Iterable[tuple[int, str]],
    moved: Mapping[tuple[int, str], str],
    path_of: Callable[[Subject], str | None],
) -> str | None:
    """Returns where the deepest known namespace on a path takes it by a move."""
    for number, prefix in reversed(list(namespaces)):
        if (number, prefix) in moved:
            return moved[number, prefix] + path.removeprefix(prefix)
        if path_of(("namespace", number)) == prefix:
            return None
    return None


def record_moves(moves: Iterable[Move], version: int, connection: Connection, left: Iterable[Move] = ()) -> None:
    """Records moves. Requires `exclusive_directory_lock`.

    Args:
        left: moves from paths at which this transaction may have left something, or which were not known.
    """
    recorded = {(move.subject, move.old_path): move for move in moves}
    others = {(move.subject, move.old_path): move for move in left}
    for statement, some in (
        (_RECORD, recorded),
        (_RECORD_LEFT, {key: others[key] for key in others.keys() - recorded}),
    ):
        if some:
            values = {
                "kinds": [kind for (kind, _), _, _ in some.values()],
                "ids": [number for (_, number), _, _ in some.values()],
                "old_paths": [move.old_path for move in some.values()],
                "new_paths": [move.new_path for move in some.values()],
                "version": version,
            }
            connection.execute(statement, values)


def repeat_moves(
    version: int,
    rows: Iterable[tuple[str | None, int | None]],
    late_paths: Collection[str],
    connection: Connection,
) -> None:
    """Has moves repeated that a transaction may have missed. Requires the directory's lock, until the commit.

    Args:
        version: version of the directory by which the rows were placed; newer moves are unknown to it.
        rows: namespace path and project of each row.
        late_paths: paths at which something was written although a namespace may have moved from there.
    """
    written, projects = set[str](), set[int]()
    for path, project in rows:
        written.update(prefix for _, prefix in lineage(path or ""))
        if project is not None:
            projects.add(project)
    late = {prefix for path in late_paths for _, prefix in lineage(path)}
    values = {"version": version, "paths": list(written), "projects": list(projects), "late_paths": list(late)}
    connection.execute(_REPEAT, values)
