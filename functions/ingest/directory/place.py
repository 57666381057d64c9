"""Where a namespace, a project or an event is, after namespaces above it moved."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from functions.ingest.directory.fact import LONG_AGO, Facts, Statement, Subject, path_of, unlimited_path
from functions.ingest.event.location import lineage
from functions.shared.grant import is_traversal_path

type FactsOf = Callable[[Subject], Facts]


def place_of(subject: Subject, facts_of: FactsOf) -> Statement | None:
    """Returns the statement that decides where a namespace or project is, with the path at which it is now.

    The deepest namespace on a path whose own path senders without a limit stated later takes along what is below it.
    """
    decides = path_of(facts_of(subject), _place_of_unlimited(subject, facts_of))
    return _followed(subject, decides, facts_of) if decides is not None and decides.value is not None else decides


def place_of_event(path: str, project_id: int | None, timestamp: datetime, facts_of: FactsOf) -> str:
    """Returns where an event is that names a path and perhaps a project.

    The event follows its project, and else its namespaces, if senders without a limit knew them at this path and stated
    another path as of a later time.
    """
    if project_id is not None:
        project: Subject = ("project", project_id)
        moved = _later_path(project, path, timestamp, facts_of, is_own=True)
        if moved is not None:
            return _place_of_unlimited(project, facts_of) or path
    return _follow(path, lineage(path), timestamp, facts_of)


def is_elsewhere(subject: Subject, path: str, facts_of: FactsOf) -> bool:
    """Whether senders without a limit knew the subject at this path, and their newest statement has another one."""
    facts = facts_of(subject)
    stated = unlimited_path(facts)
    return stated is not None and stated.value != path and ("known_path", path) in facts


def may_be_elsewhere(path: str, project_id: int | None, facts_of: FactsOf) -> bool:
    """Whether `place_of_event` returns another path for some time."""
    return any(is_elsewhere(("namespace", number), prefix, facts_of) for number, prefix in lineage(path)) or (
        project_id is not None and is_elsewhere(("project", project_id), path, facts_of)
    )


def _place_of_unlimited(subject: Subject, facts_of: FactsOf) -> str | None:
    statement = unlimited_path(facts_of(subject))
    return _followed(subject, statement, facts_of).value if statement is not None else None


def _followed(subject: Subject, statement: Statement, facts_of: FactsOf) -> Statement:
    path = statement.value or ""
    namespaces = lineage(path)[:-1] if subject[0] == "namespace" else lineage(path)
    place = _follow(path, namespaces, statement.stated_at or LONG_AGO, facts_of)
    return statement if place == path else msgspec.structs.replace(statement, value=place)


def _follow(path: str, namespaces: Sequence[tuple[int, str]], stated_at: datetime, facts_of: FactsOf) -> str:
    """Returns where a path is that was stated as of a time. Each step follows a later statement, so the steps end."""
    for number, prefix in reversed(namespaces):
        namespace: Subject = ("namespace", number)
        if _later_path(namespace, prefix, stated_at, facts_of, is_own=prefix == path) is not None:
            place = f"{_place_of_unlimited(namespace, facts_of)}{path.removeprefix(prefix)}"
            if _is_possible(place):
                return place
    return path


def _later_path(
    subject: Subject, path: str, stated_at: datetime, facts_of: FactsOf, *, is_own: bool
) -> Statement | None:
    """Returns the statement of senders without a limit if a statement of the subject at `path` is older.

    Args:
        is_own: whether that statement is about the subject itself, so that the greater path of one time counts.
    """
    facts = facts_of(subject)
    later = unlimited_path(facts)
    if later is None or ("known_path", path) not in facts:
        return None
    order = (later.order[0], later.value or "") if is_own else (later.order[0], "")
    return later if order > (stated_at, path if is_own else "") else None


def _is_possible(path: str) -> bool:
    """Whether no namespace is below itself, as contradictory statements would have it."""
    ids = path.split("/")
    return len(set(ids)) == len(ids) and is_traversal_path(path)
