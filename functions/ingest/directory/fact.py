"""Facts that authoritative senders stated, and what follows from them: where a namespace is, and what it is called.

Of each attribute of a namespace or project one statement is kept for all senders without a limit, and one for each
limit that senders have who may state facts within some namespaces only. What follows from these does not depend on the
order in which they arrived.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

type Kind = Literal["namespace", "project"]
type Attribute = Literal["path", "full_path", "ancestor_path"]
"""`ancestor_path` is the path of a namespace as far as the longer path of another one shows it: `27/` of `27/28/`."""

type Subject = tuple[Kind, int]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When something was stated whose time is not known: before everything that has one."""


class Statement(msgspec.Struct, frozen=True):
    """What was last stated of an attribute.

    Attributes:
        value: None where an operator made the system forget it.
        stated_at: the event's time; None where nobody knows.
        issuer: of the sender's token; empty for the queue.
        sub: of the sender's token; empty for the queue.
        namespaces: within which the sender may state facts; empty for a sender without that limit.
        first_received_at: when the first statement of a sender with that limit arrived.
    """

    value: str | None
    stated_at: datetime | None
    issuer: str = ""
    sub: str = ""
    namespaces: tuple[str, ...] = ()
    first_received_at: datetime | None = None

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """The newest counts; of two of one moment the greater text, so that all agree which."""
        return self.stated_at or _LONG_AGO, self.value or "", self.issuer, self.sub

    def covers(self, path: str | None) -> bool:
        """Whether the sender may state facts about what is at the traversal path."""
        return not self.namespaces or (path is not None and path.startswith(self.namespaces))


def newest(first: Statement, second: Statement) -> Statement:
    """Of two statements of senders with one limit, the one that counts; it says when the first of both arrived."""
    return since_first(max(first, second, key=lambda statement: statement.order), first, second)


def since_first(counts: Statement, *statements: Statement) -> Statement:
    """The statement that counts, as if it had arrived with the first of all."""
    if counts.first_received_at is None:
        return counts
    times = [one.first_received_at for one in statements if one.first_received_at is not None]
    return msgspec.structs.replace(counts, first_received_at=min(times))


type Facts = Mapping[tuple[Attribute, str], Statement]
"""All that was stated of a namespace or project: by attribute, and by the limit of the senders."""


def path_of(facts: Facts) -> Statement | None:
    """Which statement of the traversal path counts; of a project it is the path of its namespace.

    A sender with a limit may move only what is within that limit already. Where something is, senders without a limit
    say, also by a longer path; if they stated its full path alone, nobody knows. If they said nothing of it, the place
    is for those to state whose statements arrived first.
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
    """Which statement of the full path counts for what is at the traversal path, if nobody else holds it: `holder`."""
    stated = [one for (attribute, _), one in facts.items() if attribute == "full_path" and one.covers(path)]
    return max(stated, key=lambda one: one.order, default=None)


class FullPathStatement(msgspec.Struct, frozen=True):
    """That a full path is the one of a namespace or project, which is at a traversal path."""

    subject: Subject
    path: str | None
    statement: Statement

    def beats(self, other: "FullPathStatement") -> bool:
        """Whether this claim counts against the other.

        Of senders who may state facts about both places the newer counts. A sender may take a full path only from a
        place within its limit; if neither may, the full path stays with whose statement arrived first.
        """
        may_take = self.statement.covers(other.path)
        may_lose = other.statement.covers(self.path)
        if may_take != may_lose:
            return may_take
        if may_take:
            return (self.statement.order, self.subject) > (other.statement.order, other.subject)
        own, others = self.statement.first_received_at, other.statement.first_received_at
        return (own or _LONG_AGO, self.subject) < (others or _LONG_AGO, other.subject)


def holders(claims: Iterable[FullPathStatement]) -> set[Subject]:
    """Of all that claim one full path, at most one namespace and one project: those that hold it.

    Of the claims of senders with one limit the newest counts, as of when the first of them arrived. Between a namespace
    and a project only the limits of senders count, for the two have full paths of their own.
    """
    of_senders: dict[tuple[Kind, tuple[str, ...]], FullPathStatement] = {}
    for claim in claims:
        key = (claim.subject[0], claim.statement.namespaces)
        of_senders[key] = _newest(of_senders[key], claim) if key in of_senders else claim
    rivals = of_senders.values()
    return {one.subject for one in rivals if all(_prevails(one, other) for other in rivals if other is not one)}


def _newest(first: FullPathStatement, second: FullPathStatement) -> FullPathStatement:
    counts = max(first, second, key=lambda claim: (claim.statement.order, claim.subject))
    return msgspec.structs.replace(counts, statement=since_first(counts.statement, first.statement, second.statement))


def _prevails(claim: FullPathStatement, other: FullPathStatement) -> bool:
    if claim.subject[0] == other.subject[0] or not claim.statement.covers(other.path):
        return claim.beats(other)
    return True
