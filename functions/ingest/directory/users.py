"""Collects what a batch's events state about users: activity and names."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime

import msgspec

from functions.shared.grant import Grant
from functions.shared.timestamp import to_microseconds

type NameSource = tuple[str, bool]
"""Namespace path in which a name was stated (empty without a namespace), and whether the sender has a limit."""


class StatedNames(msgspec.Struct):
    """Names that one sender stated in one namespace.

    Attributes:
        namespace_path: traversal path; empty without a namespace.
        is_limited: whether the sender has a limit: may state facts within some namespaces only.
        issuer: issuer of the sender's token; empty for the queue.
        sub: `sub` of the sender's token; empty for the queue.
        users: user ids.
        names: name of each user; None if an operator has the name forgotten.
        times: time of each statement, in microseconds since 1970.
    """

    namespace_path: str
    is_limited: bool
    issuer: str
    sub: str
    users: list[int]
    names: list[str | None]
    times: list[int]


class BatchUsers:
    """The users that a batch of events refers to.

    Attributes:
        active_on: day of the last activity by user id.
        names: name, time and sender, by where the name was stated and by user id.
    """

    def __init__(self) -> None:
        self.active_on: dict[int, date] = {}
        self.names: defaultdict[NameSource, dict[int, tuple[str, datetime, Grant]]] = defaultdict(dict)

    def add_event(
        self, user_id: int, username: str | None, timestamp: datetime, path: str | None, sender: Grant
    ) -> None:
        """Records what an authoritative sender's event states about its user.

        Args:
            path: traversal path of the event's namespace.
        """
        active_on = timestamp.date()
        known_day = self.active_on.get(user_id)
        if known_day is None or known_day < active_on:
            self.active_on[user_id] = active_on
        if not username:
            return
        names, stated = self.names[path or "", not sender.is_everywhere], (username, timestamp, sender)
        known = names.get(user_id)
        if known is None or _order(known) < _order(stated):
            names[user_id] = stated

    def stated(self, user_ids: Mapping[NameSource, Iterable[int]]) -> list[StatedNames]:
        """Returns the names of these users, grouped by namespace and sender."""
        found = list[StatedNames]()
        for source, some in user_ids.items():
            by_sender = defaultdict[int, list[int]](list)  # events of one sender share the grant object
            names = self.names[source]
            for user_id in some:
                by_sender[id(names[user_id][2])].append(user_id)
            for of_sender in by_sender.values():
                stated = [names[user_id] for user_id in of_sender]
                sender = stated[0][2]
                found.append(
                    StatedNames(
                        *source,
                        sender.issuer,
                        sender.sub,
                        of_sender,
                        [name for name, _, _ in stated],
                        [to_microseconds(stated_at) for _, stated_at, _ in stated],
                    )
                )
        return found

    def overall_names(self, user_ids: Iterable[int]) -> dict[int, str]:
        """Returns the overall name of each of these users that the batch names."""
        wanted, found = set(user_ids), dict[int, tuple[str, datetime, Grant]]()
        for _, names in sorted(self.names.items(), key=lambda item: item[0][1], reverse=True):
            for user_id in wanted & names.keys():
                known, stated = found.get(user_id), names[user_id]
                if known is None or known[2].is_everywhere < stated[2].is_everywhere or _order(known) < _order(stated):
                    found[user_id] = stated
        return {user_id: name for user_id, (name, _, _) in found.items()}


def _order(stated: tuple[str, datetime, Grant]) -> tuple[datetime, str, str, str]:
    """Returns a sort key: the newest name counts, and the greater text of two with the same time."""
    name, stated_at, sender = stated
    return stated_at, name, sender.issuer, sender.sub
