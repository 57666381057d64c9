"""SQL of the usernames that a reader may see.

Readers of a namespace see the newest name that an authoritative sender stated in the namespace. Readers of everything
see the newest name that a sender without a limit stated; without one, the newest name overall.
"""

from psycopg import sql

_OVERALL = sql.SQL("SELECT username FROM users WHERE users.id = {user_id}")

_STATED = sql.SQL("""
    SELECT username
    FROM user_names
    WHERE user_names.user_id = {user_id}
      AND username IS NOT NULL
      AND EXISTS (
          SELECT FROM unnest({namespaces}::text[]) AS granted (path) WHERE starts_with(namespace_path, granted.path)
      )
    ORDER BY stated_at DESC, username DESC
    LIMIT 1
""")


def username(user_id: sql.Composable, namespaces: sql.Composable, *, everywhere: bool) -> sql.Composable:
    """The username of a user, as an expression; NULL if the reader may see none.

    Args:
        namespaces: array of the namespaces of the reader's grant.
        everywhere: whether the grant covers everything.
    """
    statement = _OVERALL if everywhere else _STATED
    return sql.SQL("({})").format(statement.format(user_id=user_id, namespaces=namespaces))
