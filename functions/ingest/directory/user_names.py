"""Names of users in PostgreSQL: as they were stated in each namespace, and of each user the newest."""

from collections.abc import Iterable
from typing import Any

import msgspec

from functions.ingest.directory.fact import Statement
from functions.ingest.directory.lock import next_version
from functions.shared.postgres import Connection

_RENAME = """
    INSERT INTO user_names AS known (user_id, namespace_path, username, stated_at, issuer, sub, changed_in)
    SELECT user_id, namespace_path, username, stated_at, issuer, sub, %(version)s
    FROM json_to_recordset(%(names)s::json) AS stated (
        user_id bigint, namespace_path text, username text, stated_at timestamptz, issuer text, sub text
    )
    ON CONFLICT (user_id, namespace_path) DO UPDATE SET
        username = excluded.username,
        stated_at = excluded.stated_at,
        issuer = excluded.issuer,
        sub = excluded.sub,
        changed_in = excluded.changed_in
    WHERE (excluded.stated_at, coalesce(excluded.username, ''), excluded.issuer, excluded.sub)
        > (known.stated_at, coalesce(known.username, ''), known.issuer, known.sub)
"""

# The rows come in the order of the key, so that concurrent batches wait but never deadlock. Arrays within JSON are read
# in the least time.
_NAME = """
    INSERT INTO user_names (user_id, namespace_path, username, stated_at, issuer, sub)
    SELECT named.*
    FROM json_to_record(%s::json) AS stated (
            users bigint[], paths text[], names text[], times timestamptz[], issuers text[], subs text[]
        ),
        unnest(users, paths, names, times, issuers, subs) AS named
    ON CONFLICT DO NOTHING
"""

# The locks are taken in the order of the ids, so that concurrent batches wait but never deadlock.
_WRITE_USERS = """
    WITH said AS MATERIALIZED (
        SELECT *
        FROM json_to_recordset(%s::json) AS said (id bigint, active_on date, username text)
    )
    INSERT INTO users (id, username, last_activity_on)
    SELECT said.id, said.username, said.active_on
    FROM said
    LEFT JOIN users USING (id)
    WHERE users.id IS NULL
       OR users.last_activity_on IS NULL
       OR users.last_activity_on < said.active_on
       OR users.username IS DISTINCT FROM coalesce(said.username, users.username)
    ORDER BY said.id
    ON CONFLICT (id) DO UPDATE SET
        username = CASE
            WHEN NOT EXISTS (SELECT FROM user_names WHERE user_id = users.id AND user_names.username IS NULL)
            THEN coalesce(users.username, excluded.username)
            ELSE users.username
        END,
        last_activity_on = greatest(users.last_activity_on, excluded.last_activity_on)
    RETURNING id, username
"""

_WRITE_NEWEST_NAMES = """
    WITH newest AS (
        SELECT DISTINCT ON (user_id) user_id, username
        FROM user_names
        WHERE user_id = ANY(%s)
        ORDER BY user_id, stated_at DESC, username DESC NULLS LAST
    )
    UPDATE users
    SET username = newest.username
    FROM newest
    WHERE users.id = newest.user_id AND users.username IS DISTINCT FROM newest.username
"""

type NamedUser = tuple[str, int, Statement]
"""The namespace path (empty without one), the user, and the name that was stated there."""


def change_names(stated: Iterable[NamedUser], connection: Connection) -> None:
    """Writes names of users in namespaces, and what follows. Belongs within `directory_held_alone`."""
    stated = list(stated)
    values = {"names": _names(stated), "version": next_version(connection)}
    connection.execute(_RENAME, values)
    connection.execute(_WRITE_NEWEST_NAMES, [list({user for _, user, _ in stated})])


def add_names(stated: Iterable[NamedUser], connection: Connection) -> int:
    """Writes names of users in namespaces where they have none, and returns how many these were."""
    ordered = sorted(stated, key=lambda named: (named[1], named[0]))
    columns = {
        "users": [user for _, user, _ in ordered],
        "paths": [path for path, _, _ in ordered],
        "names": [statement.value for _, _, statement in ordered],
        "times": [statement.stated_at for _, _, statement in ordered],
        "issuers": [statement.issuer for _, _, statement in ordered],
        "subs": [statement.sub for _, _, statement in ordered],
    }
    return connection.execute(_NAME, [msgspec.json.encode(columns).decode()]).rowcount


def write_users(users: Iterable[dict[str, Any]], connection: Connection) -> dict[int, str | None]:
    """Writes when users (`id`, `active_on`, `username`) were active, and names of those who have none.

    Returns:
        The names of the users whose rows were written.
    """
    return dict(connection.execute(_WRITE_USERS, [msgspec.json.encode(list(users)).decode()]))


def _names(stated: Iterable[NamedUser]) -> str:
    return msgspec.json.encode(
        [
            {
                "user_id": user,
                "namespace_path": path,
                "username": statement.value,
                "stated_at": statement.stated_at,
                "issuer": statement.issuer,
                "sub": statement.sub,
            }
            for path, user, statement in stated
        ]
    ).decode()
