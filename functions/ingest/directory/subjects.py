"""Writes facts about namespaces and projects, and the resulting rows of `namespaces` and `projects`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Any

import msgspec

from functions.ingest.directory.directory import merged
from functions.ingest.directory.fact import (
    LONG_AGO,
    Facts,
    FullPathStatement,
    Kind,
    Statement,
    Subject,
    full_path_of,
    holders,
    limit_of_place,
)
from functions.ingest.directory.known_facts import read_facts, read_with_places
from functions.ingest.directory.lock import mark_rows_removed
from functions.ingest.directory.moves import Change, Move, moves_of, record_moves, subjects_below
from functions.ingest.directory.place import FactsOf, place_of, place_of_event
from functions.shared.directory_lock import next_version
from functions.shared.postgres import Connection
from functions.shared.traversal_path import parent_of

MAX_SUBJECTS_PER_FULL_PATH = 100
"""Limit of a tenant's projects, and of its namespaces, that state one full path; only the newest can have the path."""

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

_SUBJECTS_OF_FULL_PATHS = """
    SELECT kind, id FROM facts WHERE attribute = 'full_path' AND value = ANY(%(full_paths)s)
    UNION
    SELECT 'namespace', id FROM namespaces WHERE full_path = ANY(%(full_paths)s)
    UNION
    SELECT 'project', id FROM projects WHERE full_path = ANY(%(full_paths)s)
"""

# Bounds the rows found for a full path, however many subjects a tenant states it for.
_DELETE_OLD_FULL_PATHS = """
    WITH candidates AS (
        SELECT kind, id, scope,
            row_number() OVER (
                PARTITION BY value, kind, scope ORDER BY stated_at DESC, issuer DESC, sub DESC, id DESC
            ) AS rank_by_time
        FROM facts
        WHERE attribute = 'full_path' AND scope <> '' AND value = ANY(%(full_paths)s)
    )
    DELETE FROM facts
    USING candidates
    WHERE facts.kind = candidates.kind
      AND facts.id = candidates.id
      AND facts.attribute = 'full_path'
      AND facts.scope = candidates.scope
      AND candidates.rank_by_time > %(max_subjects)s
"""

# To move a full path between rows, it is first removed from all changed rows and then set.
_WRITE_SUBJECTS: dict[Kind, tuple[str, str, str]] = {
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

# Makes consumers reload the cached facts.
_MARK_CHANGED = "UPDATE facts SET changed_in = %(version)s WHERE kind = %(kind)s AND id = ANY(%(ids)s)"

_DELETE_FACTS = """
    DELETE FROM facts
    USING json_to_recordset(%s::json) AS gone (kind text, id bigint)
    WHERE facts.kind = gone.kind AND facts.id = gone.id
"""

_READ_SUBJECTS = """
    SELECT 'namespace', id, path, full_path FROM namespaces WHERE id = ANY(%(namespaces)s)
    UNION ALL
    SELECT 'project', id, namespace_path, full_path FROM projects WHERE id = ANY(%(projects)s)
"""


def change_subjects(stated: Mapping[Subject, Facts], connection: Connection) -> None:
    """Writes statements about namespaces and projects, and their consequences. Requires `exclusive_directory_lock`."""
    before = read_with_places(stated, connection)
    after = before | {subject: merged(before[subject], statements) for subject, statements in stated.items()}
    rows = [
        _row(subject, *key, statement)
        for subject in stated
        for key, statement in after[subject].items()
        if before[subject].get(key) != statement or statement.stated_at is None  # known from the row alone so far
    ]
    version = next_version(connection)
    connection.execute(_STATE, {"facts": msgspec.json.encode(rows).decode(), "version": version})
    full_paths_of_limited = {
        statement.value
        for statements in stated.values()
        for (property_name, _), statement in statements.items()
        if property_name == "full_path" and statement.namespaces
    }
    if full_paths_of_limited:
        values = {"full_paths": list(full_paths_of_limited), "max_subjects": MAX_SUBJECTS_PER_FULL_PATH}
        connection.execute(_DELETE_OLD_FULL_PATHS, values)
    views = [_facts_in(before), _facts_in(after)]
    below = subjects_below({subject: {**before[subject], **after[subject]} for subject in stated}, views, connection)
    _settle(stated, below, before, version, connection)


def remove_subjects(subjects: Collection[Subject], connection: Connection) -> int:
    """Deletes all statements about namespaces and projects, and their rows; others may get their full paths.

    Requires `exclusive_directory_lock`.

    Returns:
        The number of subjects of which anything was known.
    """
    before = read_facts(subjects, connection)
    gone = msgspec.json.encode([{"kind": kind, "id": number} for kind, number in subjects]).decode()
    connection.execute(_DELETE_FACTS, [gone])
    for kind, (delete, *_) in _WRITE_SUBJECTS.items():
        connection.execute(delete, {"gone": [number for of_kind, number in subjects if of_kind == kind]})
    nothing: dict[Subject, Facts] = {subject: {} for subject in subjects}
    _settle(nothing, set(), before, next_version(connection), connection)
    mark_rows_removed(connection)
    return sum(1 for facts in before.values() if facts)


def _settle(
    stated: Mapping[Subject, Facts],
    below: Set[Subject],
    before: Mapping[Subject, Facts],
    version: int,
    connection: Connection,
) -> None:
    """Updates `namespaces` and `projects` to what follows from the facts, and records what moved.

    Args:
        stated: new statements by subject.
        below: further subjects whose path may change.
        before: facts before the change of the subjects with new statements.
        version: version of the change.
    """
    changed = stated.keys() | below
    facts = read_with_places(changed, connection)
    full_paths = {
        statement.value
        for one in (*(facts[subject] for subject in changed), *(before[subject] for subject in stated))
        for (property_name, _), statement in one.items()
        if property_name == "full_path"
    } | {full_path for _, full_path in _present_rows(changed, connection).values()}
    subjects_of_paths = connection.execute(
        _SUBJECTS_OF_FULL_PATHS, {"full_paths": [one for one in full_paths if one is not None]}
    )
    settled = changed | {(kind, number) for kind, number in subjects_of_paths}
    facts |= read_with_places(settled - facts.keys(), connection)
    places = _Places(facts)
    held = _held_full_paths({subject: facts[subject] for subject in settled}, places)
    present = _present_rows(settled, connection)
    _write_subjects({subject: (places.path(subject), held.get(subject)) for subject in settled}, version, connection)
    changes = {
        subject: Change(path, limit_of_place(before.get(subject, facts[subject])), places.decides(subject))
        for subject, (path, _) in present.items()
    }
    left = _left_paths(stated, changes, places)
    record_moves(moves_of(changes, places.path), version, connection, left)


def _held_full_paths(subjects: Mapping[Subject, Facts], places: "_Places") -> dict[Subject, str]:
    """Returns the full path of each subject that holds one."""
    candidates = defaultdict[str, list[FullPathStatement]](list)
    for subject, facts in subjects.items():
        full_path = full_path_of(facts, places.path(subject))
        if full_path is not None and full_path.value is not None:
            candidates[full_path.value].append(FullPathStatement(subject, places.path(subject), full_path))
    return {
        subject: full_path for full_path, all_candidates in candidates.items() for subject in holders(all_candidates)
    }


def _left_paths(
    stated: Mapping[Subject, Facts], changes: Mapping[Subject, Change], places: "_Places"
) -> Iterator[Move]:
    """Yields moves from paths that senders without a limit stated, and at which the subjects are no longer.

    If a subject stays where it was, only the paths that were stated now can have new events.
    """
    for subject, statements in stated.items():
        decides, change = places.decides(subject), changes.get(subject)
        if decides is None or decides.value is None:
            continue
        stays = change is not None and change.held == decides.value
        for (property_name, _), statement in (statements if stays else places.facts_of(subject)).items():
            if property_name == "known_path" and statement.value is not None and decides.covers(statement.value):
                for old_path in _paths_of_events(subject, statement.value, places):
                    if old_path != decides.value:
                        yield Move(subject, old_path, decides.value)


def _paths_of_events(subject: Subject, path: str, places: "_Places") -> set[str]:
    """Returns where events may be that named a path: they may have followed a namespace above before it was known."""
    above = path if subject[0] == "project" else parent_of(path)
    return {path, place_of_event(above, None, LONG_AGO, places.facts_of) + path.removeprefix(above)}


class _Places:
    """Where namespaces and projects are by these facts."""

    def __init__(self, facts: Mapping[Subject, Facts]) -> None:
        self.facts_of = _facts_in(facts)
        self._decides: dict[Subject, Statement | None] = {}

    def decides(self, subject: Subject) -> Statement | None:
        """Returns the statement that decides a subject's path, with the path at which the subject is."""
        if subject not in self._decides:
            self._decides[subject] = place_of(subject, self.facts_of)
        return self._decides[subject]

    def path(self, subject: Subject) -> str | None:
        """Returns the path of a subject."""
        statement = self.decides(subject)
        return statement.value if statement else None


def _facts_in(facts: Mapping[Subject, Facts]) -> FactsOf:
    return lambda subject: facts.get(subject, {})


def _present_rows(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, tuple[str | None, str | None]]:
    ids: dict[str, list[int]] = {"namespaces": [], "projects": []}
    for kind, number in subjects:
        ids[f"{kind}s"].append(number)
    rows = connection.execute(_READ_SUBJECTS, ids)
    return {(kind, number): (path, full_path) for kind, number, path, full_path in rows}


def _write_subjects(
    rows: Mapping[Subject, tuple[str | None, str | None]], version: int, connection: Connection
) -> None:
    present = _present_rows(rows, connection)
    for kind, statements in _WRITE_SUBJECTS.items():
        changed = {
            number: row
            for (of_kind, number), row in sorted(rows.items())
            if of_kind == kind and row != present.get((kind, number), (None, None))
        }
        kept = {number: row for number, row in changed.items() if row[0] or (row[1] and kind == "project")}
        values = {
            "gone": [number for number in changed if number not in kept],
            "changed": list(changed),
            "ids": list(kept),
            "paths": [path for path, _ in kept.values()],
            "full_paths": [full_path for _, full_path in kept.values()],
        }
        for statement in statements if changed else ():
            connection.execute(statement, values)
        if changed:
            connection.execute(_MARK_CHANGED, {"version": version, "kind": kind, "ids": list(changed)})


def _row(subject: Subject, property_name: str, limit: str, statement: Statement) -> dict[str, Any]:
    values = msgspec.structs.asdict(statement)
    return {"kind": subject[0], "id": subject[1], "attribute": property_name, "scope": limit} | values
