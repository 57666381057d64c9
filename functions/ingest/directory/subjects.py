"""Writes facts about namespaces and projects, and the resulting rows of `namespaces` and `projects`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any

import msgspec

from functions.ingest.directory.directory import merged
from functions.ingest.directory.fact import (
    Facts,
    FullPathStatement,
    Kind,
    Statement,
    Subject,
    full_path_of,
    holders,
    path_of,
)
from functions.ingest.directory.known_facts import read_facts
from functions.ingest.directory.lock import mark_rows_removed, next_version
from functions.shared.postgres import Connection

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
    """Writes statements about namespaces and projects, and their consequences. Requires `directory_held_alone`."""
    before = read_facts(stated, connection)
    after = {subject: merged(before[subject], statements) for subject, statements in stated.items()}
    rows = [
        _row(subject, *key, statement)
        for subject, facts in after.items()
        for key, statement in facts.items()
        if before[subject].get(key) != statement or statement.stated_at is None  # known from the row alone so far
    ]
    version = next_version(connection)
    connection.execute(_STATE, {"facts": msgspec.json.encode(rows).decode(), "version": version})
    full_paths = {
        statement.value
        for facts in (*before.values(), *after.values())
        for (attribute, _), statement in facts.items()
        if attribute == "full_path"
    }
    full_paths_of_limited = {
        statement.value
        for statements in stated.values()
        for (attribute, _), statement in statements.items()
        if attribute == "full_path" and statement.namespaces
    }
    if full_paths_of_limited:
        values = {"full_paths": list(full_paths_of_limited), "max_subjects": MAX_SUBJECTS_PER_FULL_PATH}
        connection.execute(_DELETE_OLD_FULL_PATHS, values)
    _settle(stated, full_paths, version, connection)


def remove_subjects(subjects: Collection[Subject], connection: Connection) -> int:
    """Deletes all statements about namespaces and projects, and their rows; others may get their full paths.

    Requires `directory_held_alone`.

    Returns:
        The number of subjects of which anything was known.
    """
    before = read_facts(subjects, connection)
    full_paths = {
        statement.value
        for facts in before.values()
        for (attribute, _), statement in facts.items()
        if attribute == "full_path"
    } | {full_path for _, full_path in _present_rows(subjects, connection).values()}
    gone = msgspec.json.encode([{"kind": kind, "id": number} for kind, number in subjects]).decode()
    connection.execute(_DELETE_FACTS, [gone])
    for kind, (delete, *_) in _WRITE_SUBJECTS.items():
        connection.execute(delete, {"gone": [number for of_kind, number in subjects if of_kind == kind]})
    _settle(subjects, full_paths, next_version(connection), connection)
    mark_rows_removed(connection)
    return sum(1 for facts in before.values() if facts)


def _settle(subjects: Iterable[Subject], full_paths: Set[str | None], version: int, connection: Connection) -> None:
    """Updates `namespaces` and `projects` to what follows from the facts.

    Args:
        subjects: subjects with new or withdrawn statements.
        full_paths: full paths stated for these subjects now or before; another subject may get them now.
        version: version of the change.
    """
    present = _present_rows(subjects, connection)
    full_paths = full_paths | {full_path for _, full_path in present.values()}
    subjects_of_paths = connection.execute(
        _SUBJECTS_OF_FULL_PATHS, {"full_paths": [one for one in full_paths if one is not None]}
    )
    changed = set(subjects)
    facts = read_facts(changed | {(kind, number) for kind, number in subjects_of_paths}, connection)
    paths, candidates = dict[Subject, str | None](), defaultdict[str, list[FullPathStatement]](list)
    for subject, stated in facts.items():
        path_statement = path_of(stated)
        paths[subject] = path_statement.value if path_statement else None
        full_path = full_path_of(stated, paths[subject])
        if full_path is not None and full_path.value is not None:
            candidates[full_path.value].append(FullPathStatement(subject, paths[subject], full_path))
    held = {
        subject: full_path for full_path, all_candidates in candidates.items() for subject in holders(all_candidates)
    }
    _write_subjects({subject: (paths[subject], held.get(subject)) for subject in facts}, version, connection)


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


def _row(subject: Subject, attribute: str, scope: str, statement: Statement) -> dict[str, Any]:
    values = msgspec.structs.asdict(statement)
    return {"kind": subject[0], "id": subject[1], "attribute": attribute, "scope": scope} | values
