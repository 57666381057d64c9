"""What the events of a batch say of users: that they were active, and their names."""

from collections import defaultdict
from datetime import date, datetime

import msgspec

from functions.shared.fact import Statement, newest
from functions.shared.grant import Grant


class NamedUser(msgspec.Struct):
    """When a user was active last, and the name of those stated that is the newest."""

    active_on: date
    name: Statement | None = None


class Users:
    """The users that a batch of events has to do with.

    Attributes:
        users: by their ids.
        names: what was stated of their names, by namespace path (empty without one) and user.
    """

    def __init__(self) -> None:
        self.users: dict[int, NamedUser] = {}
        self.names: defaultdict[str, dict[int, Statement]] = defaultdict(dict)

    def note(self, user_id: int, username: str | None, timestamp: datetime, path: str | None, sender: Grant) -> None:
        """Keeps in mind what an authoritative sender's event says of its user.

        Args:
            path: the namespace of the event.
        """
        active_on = timestamp.date()
        user = self.users.get(user_id)
        if user is None:
            user = self.users[user_id] = NamedUser(active_on)
        elif user.active_on < active_on:
            user.active_on = active_on
        if not username:
            return
        names = self.names[path or ""]
        known = names.get(user_id)
        if known is not None and known.value == username and known.stated_at and known.stated_at > timestamp:
            return
        statement = Statement(username, timestamp, sender.issuer, sender.sub)
        names[user_id] = newest(known, statement) if known else statement
        user.name = newest(user.name, statement) if user.name else statement
