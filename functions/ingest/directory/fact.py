"""Facts that authoritative senders stated, and the rules that derive paths and names from them.

Each attribute of a namespace or project has one statement for all unlimited senders, and one for each limit of senders
that may state facts within some namespaces only. The result does not depend on the order in which statements arrive.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

type Kind = Literal["namespace", "project"]
type Attribute = Literal["path", "full_path", "ancestor_path"]
"""`ancestor_path` is the path of a namespace that follows from a longer path: `27/` from `27/28/`."""

type Subject = tuple[Kind, int]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for an unknown time; sorts before every known time."""


class Statement(msgspec.Struct, frozen=True):
    """The newest statement about an attribute.

    Attributes:
        value: None if an operator had the value forgotten.
        stated_at: timestamp of the event; None if unknown.
        issuer: issuer of the sender's token; empty for the queue.
        sub: `sub` of the sender's token; empty for the queue.
        namespaces: limit of the sender as traversal paths; empty for an unlimited sender.
        first_received_at: arrival of the first statement under the same limit.
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
        return self.stated_at or _LONG_AGO, self.value or "", self.issuer, self.sub

    def covers(self, path: str | None) -> bool:
        """Whether the sender may state facts about a subject at this traversal path."""
        return not self.namespaces or (path is not None and path.startswith(self.namespaces))


def newest(first: Statement, second: Statement) -> Statement:
    """Returns the newer of two statements under one limit, with the arrival time of the earlier one."""
    return since_first(max(first, second, key=lambda statement: statement.order), first, second)


def since_first(counts: Statement, *statements: Statement) -> Statement:
    """Returns the statement `counts` with the earliest arrival time of all statements."""
    if counts.first_received_at is None:
        return counts
    times = [one.first_received_at for one in statements if one.first_received_at is not None]
    return msgspec.structs.replace(counts, first_received_at=min(times))


type Facts = Mapping[tuple[Attribute, str], Statement]
"""All statements about a namespace or project, by attribute and limit."""


def path_of(facts: Facts) -> Statement | None:
    """Returns the statement that decides the traversal path; for a project, the path of its namespace.

    A limited sender may move a subject only from a path within its limit. The path before the move follows from the
    statements of unlimited senders, including ancestor paths; it is unknown if these senders stated only a full path.
    If unlimited senders stated nothing, the limited sender whose statement arrived first decides.
    """
    unlimited = {attribute: one for (attribute, _), one in facts.items() if not one.namespaces}
    base = unlimited.get("path")
    limited = [one for (attribute, _), one in facts.items() if attribute == "path" and one.namespaces]
    if base is not None:
        limited = [one for one in limited if one.order > base.order]
    stated = [one.value for one in (base, unlimited.get("ancestor_path")) if one is not None and one.value is not None]
    if not stated and base is None and unlimited:
        return None
    first = min(limited, key=lambda one: (one.first_received_at or _LONG_AGO, one.namespaces), default=None)
    before = stated[0] if stated else (first.value if first else None)
    admitted = [one for one in limited if one.covers(before)]
    return max([*admitted, *([base] if base else [])], key=lambda one: one.order, default=None)


def full_path_of(facts: Facts, path: str | None) -> Statement | None:
    """Returns the statement that decides the full path of a subject at this traversal path. See also `holders`."""
    stated = [one for (attribute, _), one in facts.items() if attribute == "full_path" and one.covers(path)]
    return max(stated, key=lambda one: one.order, default=None)


class FullPathStatement(msgspec.Struct, frozen=True):
    """A statement that a full path belongs to a namespace or project at a traversal path."""

    subject: Subject
    path: str | None
    statement: Statement

    def beats(self, other: "FullPathStatement") -> bool:
        """Whether this statement takes precedence over the other.

        If both senders may state facts about both subjects, the newer statement wins. A sender may take a full path
        only from a subject within its limit; if neither sender may, the statement that arrived first wins.
        """
        may_take = self.statement.covers(other.path)
        may_lose = other.statement.covers(self.path)
        if may_take != may_lose:
            return may_take
        if may_take:
            return (self.statement.order, self.subject) > (other.statement.order, other.subject)
        own, others = self.statement.first_received_at, other.statement.first_received_at
        return (own or _LONG_AGO, self.subject) < (others or _LONG_AGO, other.subject)


def holders(candidates: Iterable[FullPathStatement]) -> set[Subject]:
    """Returns the subjects that hold a full path: at most one namespace and one project.

    Under each limit the newest statement counts, with the arrival time of the first one. Between a namespace and a
    project only limits count, because the two have separate full paths.
    """
    of_senders: dict[tuple[Kind, tuple[str, ...]], FullPathStatement] = {}
    for candidate in candidates:
        key = (candidate.subject[0], candidate.statement.namespaces)
        of_senders[key] = _newest(of_senders[key], candidate) if key in of_senders else candidate
    rivals = of_senders.values()
    return {one.subject for one in rivals if all(_prevails(one, other) for other in rivals if other is not one)}


def _newest(first: FullPathStatement, second: FullPathStatement) -> FullPathStatement:
    counts = max(first, second, key=lambda candidate: (candidate.statement.order, candidate.subject))
    return msgspec.structs.replace(counts, statement=since_first(counts.statement, first.statement, second.statement))


def _prevails(candidate: FullPathStatement, other: FullPathStatement) -> bool:
    if candidate.subject[0] == other.subject[0] or not candidate.statement.covers(other.path):
        return candidate.beats(other)
    return True
