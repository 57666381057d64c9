"""Forgets whom erasures were about, once no event of theirs can be on its way any longer."""

from functions.shared.postgres import Connection

_COUNT = """
    SELECT count(*)
    FROM erasures
    WHERE kind = 'user' AND subject IS NOT NULL AND finished_at IS NOT NULL AND repels_until < now()
"""

_FORGET = """
    UPDATE erasures
    SET subject = NULL
    WHERE kind = 'user' AND subject IS NOT NULL AND finished_at IS NOT NULL AND repels_until < now()
"""


def count_forgettable(connection: Connection) -> int:
    """Returns how many erasures `forget_users` would change."""
    row = connection.execute(_COUNT).fetchone()
    return int(row[0]) if row else 0


def forget_users(connection: Connection) -> int:
    """Removes the user's id from finished erasures that repel no events any longer, and returns how many there were.

    The path of an erased namespace stays: it names no person.
    """
    return connection.execute(_FORGET).rowcount
