"""What events say about their users: names, and the day of the last activity."""

from datetime import date, datetime

import msgspec

from functions.shared.grant import Grant
from functions.shared.postgres import Connection

# The locks are taken in the order of the ids, so that concurrent batches wait but never deadlock.
# Whoever only names a user gives a name to one without; a rename counts always.
_WRITE_DIFFERING = """
    WITH said AS MATERIALIZED (
        SELECT *
        FROM json_to_recordset(%s::json) AS said (id bigint, active_on date, username text, is_renamed boolean)
    )
    INSERT INTO users (id, username, last_activity_on)
    SELECT said.id, said.username, said.active_on
    FROM said
    LEFT JOIN users USING (id)
    WHERE users.id IS NULL
       OR users.last_activity_on IS NULL
       OR users.last_activity_on < said.active_on
       OR CASE WHEN said.is_renamed OR users.username IS NULL THEN users.username IS DISTINCT FROM said.username END
    ORDER BY said.id
    ON CONFLICT (id) DO UPDATE SET
        username = CASE
            WHEN excluded.id IN (SELECT id FROM said WHERE is_renamed) THEN excluded.username
            ELSE coalesce(users.username, excluded.username)
        END,
        last_activity_on = greatest(users.last_activity_on, excluded.last_activity_on)
"""


class _User(msgspec.Struct):
    """What a batch says of one user.

    Attributes:
        username: a name to keep where none is known.
        is_renamed: whether it is from a sender who may change a known one.
    """

    id: int
    active_on: date
    username: str | None = None
    is_renamed: bool = False


class Users:
    """The users that a batch of events has to do with."""

    def __init__(self) -> None:
        self._users: dict[int, _User] = {}

    def note(self, user_id: int, username: str | None, timestamp: datetime, sender: Grant) -> None:
        """Keeps in mind that the user was active then, and the name that the event gives."""
        active_on = timestamp.date()
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(user_id, active_on)
        elif user.active_on < active_on:
            user.active_on = active_on
        if username:
            if sender.is_everywhere or sender.sub == str(user_id):
                user.username, user.is_renamed = username, True
            elif user.username is None:
                user.username = username

    def write(self, connection: Connection) -> None:
        """Writes what differs from what is known. Belongs within a transaction."""
        if self._users:
            # One text is passed on in a fraction of the time that lists take.
            connection.execute(_WRITE_DIFFERING, [msgspec.json.encode(list(self._users.values())).decode()])
