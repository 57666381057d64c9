"""Moves the names of users with the namespaces in which the names were stated."""

from collections.abc import Callable, Iterator

from functions.shared.directory_lock import exclusive_directory_lock, next_version
from functions.shared.postgres import Connection
from functions.shared.traversal_path import namespace_upper_bound
from functions.sync.places import Places

NAMES_AT_ONCE = 5_000
"""Names that one transaction moves; consumers wait for it."""

_PATHS = """
    SELECT DISTINCT namespace_path
    FROM user_names
    WHERE namespace_path >= %(path)s AND namespace_path < %(upper_bound)s
"""

# Of two names of a user the newest counts, as if both had been stated in the new namespace.
_MOVE = """
    WITH moved AS (
        DELETE FROM user_names
        WHERE namespace_path = %(old_path)s
          AND user_id IN (
              SELECT user_id FROM user_names WHERE namespace_path = %(old_path)s ORDER BY user_id LIMIT %(limit)s
          )
        RETURNING user_id, username, stated_at, issuer, sub, unlimited_username, unlimited_at
    )
    INSERT INTO user_names AS known (
        user_id, namespace_path, username, stated_at, issuer, sub, unlimited_username, unlimited_at, changed_in
    )
    SELECT user_id, %(new_path)s, username, stated_at, issuer, sub, unlimited_username, unlimited_at, %(version)s
    FROM moved
    ON CONFLICT (user_id, namespace_path) DO UPDATE SET
        (username, stated_at, issuer, sub) = (
            SELECT username, stated_at, issuer, sub
            FROM (
                VALUES
                    (known.username, known.stated_at, known.issuer, known.sub),
                    (excluded.username, excluded.stated_at, excluded.issuer, excluded.sub)
            ) AS stated (username, stated_at, issuer, sub)
            ORDER BY stated_at DESC, coalesce(username, '') DESC, issuer DESC, sub DESC
            LIMIT 1
        ),
        (unlimited_username, unlimited_at) = (
            SELECT username, stated_at
            FROM (
                VALUES (known.unlimited_username, known.unlimited_at),
                    (excluded.unlimited_username, excluded.unlimited_at)
            ) AS stated (username, stated_at)
            ORDER BY stated_at DESC NULLS LAST, coalesce(username, '') DESC
            LIMIT 1
        ),
        changed_in = excluded.changed_in
"""

# Consumers forget what they have cached of the names under the old path.
_MARK_CHANGED = "UPDATE namespace_moves SET version = %(version)s WHERE number = %(number)s"


def move_names(number: int, old_path: str, connection: Connection, require_time: Callable[[], None]) -> Iterator[int]:
    """Moves the names under a former path of a namespace; yields how many each transaction moved.

    Args:
        number: number of the move.
        require_time: called before each transaction; raises if no time is left.
    """
    values = {"path": old_path, "upper_bound": namespace_upper_bound(old_path)}
    places = Places(connection)
    for (path,) in connection.execute(_PATHS, values).fetchall():
        if places.of(path) == path:
            continue
        moved_now = NAMES_AT_ONCE
        while moved_now == NAMES_AT_ONCE:
            require_time()
            moved_now = _move_some(number, path, connection)
            yield moved_now


def _move_some(number: int, path: str, connection: Connection) -> int:
    with exclusive_directory_lock(connection):
        place = Places(connection).of(path)
        if place == path:
            return 0
        version = next_version(connection)
        values = {"old_path": path, "new_path": place, "version": version, "limit": NAMES_AT_ONCE}
        moved = connection.execute(_MOVE, values).rowcount
        connection.execute(_MARK_CHANGED, {"version": version, "number": number})
    return moved
