"""Facts that authoritative senders stated, and the rules that derive paths and names from them.

Each property of a namespace or project has one statement for all senders without a limit, and one for each limit. The
result does not depend on the order in which statements are received.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

type Kind = Literal["namespace", "project"]
type PropertyName = Literal["path", "full_path", "known_path"]
"""`known_path` is a path that senders without a limit stated, in a longer path too: `27/` in `27/28/`.

Its scope is the path. Its time is that of the newest longer path; `LONG_AGO` without one.
"""

type Subject = tuple[Kind, int]

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for an unknown time; sorts before every known time."""


class Statement(msgspec.Struct, frozen=True):
    """The newest statement about a property of a namespace or project.

    Attributes:
        value: None if an operator had the value forgotten.
        stated_at: timestamp of the event; None if unknown.
        issuer: issuer of the sender's token; empty for the queue.
        sub: `sub` of the sender's token; empty for the queue.
        namespaces: limit of the sender as traversal paths; empty for a sender without a limit.
        first_received_at: when the first statement under the same limit was received.
    """

    value: str | None
    stated_at: datetime | None
    issuer: str = ""
    sub: str = ""
    namespaces: tuple[str, ...] = ()
    first_received_at: datetime | None = None

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """Returns a sort key: the newest statement counts, and the greater text of two with the same time."""
        return self.stated_at or LONG_AGO, self.value or "", self.issuer, self.sub

    def covers(self, path: str | None) -> bool:
        """Whether the sender may state facts about a subject at this traversal path."""
        return not self.namespaces or (path is not None and path.startswith(self.namespaces))


def newest(first: Statement, second: Statement) -> Statement:
    """Returns the newer of two statements under one limit, with the received-at time of the earlier one."""
    counts = max(first, second, key=lambda statement: statement.order)
    if counts.first_received_at is None:
        return counts
    times = [one.first_received_at for one in (first, second) if one.first_received_at is not None]
    return msgspec.structs.replace(counts, first_received_at=min(times))


type Facts = Mapping[tuple[PropertyName, str], Statement]
"""All statements about a namespace or project, by property and limit."""


def unlimited_path(facts: Facts) -> Statement | None:
    """Returns the path that senders without a limit stated; None without one, or if an operator had it forgotten."""
    statement = facts.get(("path", ""))
    return statement if statement is not None and statement.value is not None else None


def path_of(facts: Facts, place: str | None = None) -> Statement | None:
    """Returns the statement that decides the traversal path; for a project, the path of its namespace.

    A sender with a limit may move a subject only from a path within its limit. The path before the move follows from
    the statements of senders without a limit, including longer paths; it is unknown if these senders stated only a full
    path. If senders without a limit stated nothing, the statement that was received first decides.

    Args:
        place: where the path that senders without a limit stated is now, if the namespaces above it moved.
    """
    return max(_competing_paths(facts, place), key=lambda one: one.order, default=None)


def _competing_paths(facts: Facts, place: str | None = None) -> list[Statement]:
    """Returns the statement of senders without a limit, and those of senders with a limit that may move the subject."""
    base = facts.get(("path", ""))
    known = [one for (property_name, _), one in facts.items() if property_name == "known_path"]
    newest_known = max(known, key=lambda one: one.order, default=None)
    limited = [one for (property_name, _), one in facts.items() if property_name == "path" and one.namespaces]
    stated = [one.value for one in (base, newest_known) if one is not None and one.value is not None]
    if place is not None:
        stated.insert(0, place)
    if not stated and base is None and not all(one.namespaces for one in facts.values()):
        return []
    newer = [one for one in limited if base is None or one.order > base.order]
    first = min(newer, key=lambda one: (one.first_received_at or LONG_AGO, one.namespaces), default=None)
    before = stated[0] if stated else (first.value if first else None)
    return [*([base] if base else []), *(one for one in limited if one.covers(before))]


def is_placed_by_unlimited(facts: Facts) -> bool:
    """Whether a sender without a limit stated the traversal path."""
    return any(
        property_name == "path" and one.value and not one.namespaces for (property_name, _), one in facts.items()
    )


def limit_of_place(facts: Facts) -> tuple[str, ...]:
    """Returns the limit of the senders who stated where the subject is; empty if senders without a limit did."""
    if any(property_name == "known_path" for property_name, _ in facts):
        return ()
    decides = path_of(facts)
    return decides.namespaces if decides else ()


def is_contested(facts: Facts, held_path: str | None, held_full_path: str | None) -> bool:
    """Whether the mere time of a statement may change a value, because statements with other values compete.

    Args:
        held_path: path that the subject has now; it is not the stated one if a namespace above moved.
        held_full_path: full path that the subject has now; statements compete with those about another subject too.
    """
    competing = _competing_paths(facts)
    path = max(competing, key=lambda one: one.order, default=None)
    if held_path != (path.value if path else None) or _is_named_elsewhere(facts):
        return True
    full_paths = {one.value for one in _full_paths(facts, path.value if path else None)} - {None}
    return len({one.value for one in competing}) > 1 or full_paths != {held_full_path} - {None}


def _is_named_elsewhere(facts: Facts) -> bool:
    """Whether a longer path names the namespace elsewhere, and is not older than the namespace's own path."""
    base = unlimited_path(facts)
    return base is not None and any(
        property_name == "known_path" and one.value != base.value and one.order[0] >= (base.stated_at or LONG_AGO)
        for (property_name, _), one in facts.items()
    )


def full_path_of(facts: Facts, path: str | None) -> Statement | None:
    """Returns the statement that decides the full path of a subject at this traversal path. See also `holders`.

    If a sender with a limit repeats what senders without a limit stated, their statement decides, as of the newer time.
    """
    stated = _full_paths(facts, path)
    counts = max(stated, key=lambda one: one.order, default=None)
    for one in stated:
        if counts is not None and not one.namespaces and one.value == counts.value:
            return msgspec.structs.replace(one, stated_at=counts.stated_at)
    return counts


def _full_paths(facts: Facts, path: str | None) -> list[Statement]:
    return [one for (property_name, _), one in facts.items() if property_name == "full_path" and one.covers(path)]


class FullPathStatement(msgspec.Struct, frozen=True):
    """A statement that a full path belongs to a namespace or project at a traversal path."""

    subject: Subject
    path: str | None
    statement: Statement

    @property
    def order(self) -> tuple[tuple[datetime, str, str, str], Subject]:
        """Returns a sort key: the newest statement counts."""
        return self.statement.order, self.subject


def holders(candidates: Iterable[FullPathStatement]) -> set[Subject]:
    """Returns the subjects that hold a full path: at most one namespace and one project.

    A sender may take a full path only from a subject within its limit. Senders without a limit come first. If several
    senders with a limit state a full path that no sender without a limit stated, and none of them may take it from the
    others, nobody holds it. Between a namespace and a project only limits count: a project does not take a full path
    from a namespace, nor the reverse.
    """
    by_kind = defaultdict[Kind, list[FullPathStatement]](list)
    for candidate in candidates:
        by_kind[candidate.subject[0]].append(candidate)
    winners = [winner for of_kind in by_kind.values() if (winner := _holder(of_kind)) is not None]
    return {one.subject for one in winners if all(one.statement.covers(other.path) for other in winners)}


def _holder(candidates: Sequence[FullPathStatement]) -> FullPathStatement | None:
    unlimited = [one for one in candidates if not one.statement.namespaces]
    rivals = [max(unlimited, key=lambda one: one.order)] if unlimited else candidates
    paths = {one.path for one in rivals}
    admitted = [one for one in candidates if all(one.statement.covers(path) for path in paths)]
    return max(admitted, key=lambda one: one.order, default=None)
