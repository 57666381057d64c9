"""Writes users' names to PostgreSQL: one for each namespace, and one overall name.

In a namespace the newest name counts. The overall name is the newest from a sender without a limit; if there is
none, the newest of all.
"""

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec
from psycopg import sql
from psycopg.errors import UniqueViolation

from functions.ingest.directory.users import StatedNames
from functions.shared.directory_lock import next_version
from functions.shared.postgres import Connection

# Arrays within JSON are the fastest to read.
_STATED = sql.SQL("""
    stated AS MATERIALIZED (
        SELECT user_id, namespace_path, is_limited, username,
            timestamptz 'epoch' + microseconds * interval '1 microsecond' AS stated_at, issuer, sub
        FROM json_to_recordset(%(names)s::json) AS source (
                namespace_path text, is_limited boolean, issuer text, sub text,
                users bigint[], names text[], times bigint[]
            ),
            unnest(users, names, times) AS named (user_id, username, microseconds)
    )
""")

# Rows come in key order, so that concurrent batches may wait but never deadlock.
_ADD_NEW = sql.SQL("""
    WITH {stated}
    INSERT INTO user_names (
        user_id, namespace_path, username, stated_at, issuer, sub, unlimited_username, unlimited_at
    )
    SELECT user_id, namespace_path, username, stated_at, issuer, sub,
        CASE WHEN NOT is_limited THEN username END, CASE WHEN NOT is_limited THEN stated_at END
    FROM stated
    ORDER BY user_id, namespace_path
""").format(stated=_STATED)

_ADD = _ADD_NEW + sql.SQL("ON CONFLICT DO NOTHING")

_DIFFERING = sql.SQL("""
    WITH {stated}
    SELECT namespace_path, is_limited, user_id
    FROM stated
    JOIN user_names AS known USING (user_id, namespace_path)
    WHERE known.username IS DISTINCT FROM stated.username
""").format(stated=_STATED)

_CHANGE = sql.SQL("""
    WITH {stated}
    INSERT INTO user_names AS known (user_id, namespace_path, username, stated_at, issuer, sub, changed_in)
    SELECT user_id, namespace_path, username, stated_at, issuer, sub, %(version)s
    FROM stated
    ON CONFLICT (user_id, namespace_path) DO UPDATE SET
        username = excluded.username,
        stated_at = excluded.stated_at,
        issuer = excluded.issuer,
        sub = excluded.sub,
        changed_in = excluded.changed_in
    WHERE (excluded.stated_at, coalesce(excluded.username, ''), excluded.issuer, excluded.sub)
        > (known.stated_at, coalesce(known.username, ''), known.issuer, known.sub)
""").format(stated=_STATED)

_CHANGE_UNLIMITED = sql.SQL("""
    WITH {stated}
    UPDATE user_names AS known
    SET unlimited_username = stated.username, unlimited_at = stated.stated_at, changed_in = %(version)s
    FROM stated
    WHERE NOT is_limited
      AND known.user_id = stated.user_id
      AND known.namespace_path = stated.namespace_path
      AND (stated.stated_at, coalesce(stated.username, ''))
          > (coalesce(known.unlimited_at, '-infinity'), coalesce(known.unlimited_username, ''))
""").format(stated=_STATED)

_WRITE_OVERALL_NAMES = """
    WITH overall AS (
        SELECT user_id, coalesce(
            (
                SELECT unlimited_username
                FROM user_names
                WHERE user_names.user_id = changed.user_id AND unlimited_at IS NOT NULL
                ORDER BY unlimited_at DESC, unlimited_username DESC NULLS LAST
                LIMIT 1
            ),
            (
                SELECT username
                FROM user_names
                WHERE user_names.user_id = changed.user_id
                ORDER BY stated_at DESC, username DESC NULLS LAST
                LIMIT 1
            )
        ) AS username
        FROM unnest(%s::bigint[]) AS changed (user_id)
    )
    UPDATE users
    SET username = overall.username
    FROM overall
    WHERE users.id = overall.user_id AND users.username IS DISTINCT FROM overall.username
"""

# Rows are locked in id order, so that concurrent batches may wait but never deadlock.
_WRITE_USERS = """
    WITH activity AS MATERIALIZED (
        SELECT active.*
        FROM json_to_record(%s::json) AS columns (ids bigint[], days date[], names text[]),
            unnest(ids, days, names) AS active (id, active_on, username)
    )
    INSERT INTO users (id, username, last_activity_on)
    SELECT activity.id, activity.username, activity.active_on
    FROM activity
    LEFT JOIN users USING (id)
    WHERE users.id IS NULL
       OR users.last_activity_on IS NULL
       OR users.last_activity_on < activity.active_on
       OR users.username IS DISTINCT FROM coalesce(activity.username, users.username)
    ORDER BY activity.id
    ON CONFLICT (id) DO UPDATE SET
        username = CASE
            WHEN users.username IS NULL
             AND NOT EXISTS (SELECT FROM user_names WHERE user_id = users.id AND user_names.username IS NULL)
            THEN excluded.username
            ELSE users.username
        END,
        last_activity_on = greatest(users.last_activity_on, excluded.last_activity_on)
    RETURNING id, username
"""


def add_names(stated: Sequence[StatedNames], connection: Connection) -> bool:
    """Writes names of users that have none in the namespace; returns whether that was true of all of them."""
    count = sum(len(names.users) for names in stated)
    return connection.execute(_ADD, {"names": _json(stated)}).rowcount == count


def add_new_names(stated: Sequence[StatedNames], connection: Connection) -> bool:
    """Does what `add_names` does in two thirds of the time; writes nothing if any of the users has a name."""
    try:
        with connection.transaction():
            connection.execute(_ADD_NEW, {"names": _json(stated)})
    except UniqueViolation:
        return False
    return True


def differing_names(stated: Sequence[StatedNames], connection: Connection) -> list[tuple[str, bool, int]]:
    """Returns namespace path, whether the sender has a limit, and user id of each name that differs from the known."""
    return connection.execute(_DIFFERING, {"names": _json(stated)}).fetchall()


def change_names(stated: Sequence[StatedNames], connection: Connection) -> None:
    """Writes users' names in namespaces, and the overall names that follow. Requires `exclusive_directory_lock`."""
    version = next_version(connection)
    for is_limited in (False, True):  # one statement may change a row only once
        some = [names for names in stated if names.is_limited == is_limited]
        if some:
            connection.execute(_CHANGE, {"names": _json(some), "version": version})
    connection.execute(_CHANGE_UNLIMITED, {"names": _json(stated), "version": version})
    write_overall_names((user for names in stated for user in names.users), connection)


def write_overall_names(user_ids: Iterable[int], connection: Connection) -> None:
    """Writes the users' overall names from their names in namespaces. Requires `exclusive_directory_lock`."""
    connection.execute(_WRITE_OVERALL_NAMES, [list(set(user_ids))])


def write_users(users: Iterable[tuple[int, date, str | None]], connection: Connection) -> dict[int, str | None]:
    """Writes users' last activity days, and the names of users without a name.

    Returns:
        The names by user id of the rows that were written.
    """
    ids, days, names = zip(*users, strict=True)
    return dict(connection.execute(_WRITE_USERS, [_json({"ids": ids, "days": days, "names": names})]))


def _json(values: object) -> str:
    return msgspec.json.encode(values).decode()
