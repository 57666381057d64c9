"""What the events of a batch say of users: that they were active, and their names."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

from functions.ingest.directory.fact import Statement, newest
from functions.shared.grant import Grant


class Users:
    """The users that a batch of events has to do with.

    Attributes:
        active_on: the day of each user's last activity.
        names: by namespace path (empty without one) and user: the name, when it was stated, and by whom.
    """

    def __init__(self) -> None:
        self.active_on: dict[int, date] = {}
        self.names: defaultdict[str, dict[int, tuple[str, datetime, Grant]]] = defaultdict(dict)

    def note(self, user_id: int, username: str | None, timestamp: datetime, path: str | None, sender: Grant) -> None:
        """Keeps in mind what an authoritative sender's event says of its user.

        Args:
            path: the namespace of the event.
        """
        active_on = timestamp.date()
        known_day = self.active_on.get(user_id)
        if known_day is None or known_day < active_on:
            self.active_on[user_id] = active_on
        if not username:
            return
        names, stated = self.names[path or ""], (username, timestamp, sender)
        known = names.get(user_id)
        if known is None or newest(_statement(known), _statement(stated)) == _statement(stated):
            names[user_id] = stated

    def statement(self, path: str, user_id: int) -> Statement:
        """What was stated last of the user's name in the namespace."""
        return _statement(self.names[path][user_id])

    def newest_names(self, user_ids: Iterable[int]) -> dict[int, str]:
        """Of those of the users who were named, the name that was stated last in any namespace."""
        wanted, found = set(user_ids), dict[int, Statement]()
        for names in self.names.values():
            for user_id in wanted & names.keys():
                statement = _statement(names[user_id])
                found[user_id] = newest(found[user_id], statement) if user_id in found else statement
        return {user_id: str(statement.value) for user_id, statement in found.items()}


def _statement(stated: tuple[str, datetime, Grant]) -> Statement:
    username, timestamp, sender = stated
    return Statement(username, timestamp, sender.issuer, sender.sub)
