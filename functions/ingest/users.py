"""What events say about their users: names, and the day of the last activity."""

from datetime import date, datetime

import msgspec

from functions.shared.grant import Grant
from functions.shared.postgres import Connection

# Both statements take their locks in the order of the ids, so that concurrent batches wait but never deadlock.
_INSERT_MISSING = """
    INSERT INTO users (id)
    SELECT id FROM unnest(%(ids)s::bigint[]) AS said (id)
    WHERE NOT EXISTS (SELECT FROM users WHERE users.id = said.id)
    ORDER BY id
    ON CONFLICT DO NOTHING
"""

_UPDATE_DIFFERING = """
    WITH news AS MATERIALIZED (
        SELECT users.id,
               coalesce(said.new_name, users.username, said.first_name) AS username,
               greatest(users.last_activity_on, said.active_on) AS last_activity_on
        FROM users
        JOIN unnest(%(ids)s::bigint[], %(first_names)s::text[], %(new_names)s::text[], %(days)s::date[])
             AS said (id, first_name, new_name, active_on) USING (id)
        WHERE users.username IS DISTINCT FROM coalesce(said.new_name, users.username, said.first_name)
           OR users.last_activity_on IS NULL
           OR users.last_activity_on < said.active_on
        ORDER BY users.id
        FOR UPDATE OF users
    )
    UPDATE users
    SET username = news.username, last_activity_on = news.last_activity_on
    FROM news
    WHERE users.id = news.id
"""


class _User(msgspec.Struct):
    """What a batch says of one user.

    Attributes:
        first_name: a name to keep where none is known.
        new_name: a name from a sender who may change a known one.
    """

    active_on: date
    first_name: str | None = None
    new_name: str | None = None


class Users:
    """The users that a batch of events has to do with."""

    def __init__(self) -> None:
        self._users: dict[int, _User] = {}

    def note(self, user_id: int, username: str | None, timestamp: datetime, sender: Grant) -> None:
        """Keeps in mind that the user was active then, and the name that the event gives."""
        active_on = timestamp.date()
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(active_on)
        elif user.active_on < active_on:
            user.active_on = active_on
        if username:
            user.first_name = user.first_name or username
            if sender.is_everywhere or sender.sub == str(user_id):
                user.new_name = username

    def write(self, connection: Connection) -> None:
        """Writes what differs from what is known. Belongs within a transaction."""
        users = sorted(self._users.items())
        values = {
            "ids": [user_id for user_id, _ in users],
            "first_names": [user.first_name for _, user in users],
            "new_names": [user.new_name for _, user in users],
            "days": [user.active_on for _, user in users],
        }
        connection.execute(_INSERT_MISSING, values)
        connection.execute(_UPDATE_DIFFERING, values)
