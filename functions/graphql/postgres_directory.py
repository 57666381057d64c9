"""Users and namespaces as PostgreSQL knows them."""

from collections.abc import Iterable
from typing import Any

from functions.shared.postgres import Database

_USERNAMES = "SELECT id, username FROM users WHERE id = ANY(%s) AND username IS NOT NULL"

_PATH_OF = """
    SELECT path FROM namespaces WHERE full_path = %(full_path)s
    UNION ALL
    SELECT namespace_path FROM projects WHERE full_path = %(full_path)s AND namespace_path IS NOT NULL
    LIMIT 1
"""

_FULL_PATH_OF = "SELECT full_path FROM namespaces WHERE path = %s"


class PostgresDirectory:
    """The users and namespaces that PostgreSQL knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usernames(self, user_ids: Iterable[int]) -> dict[int, str]:
        """The names of those that have one."""
        return dict(_rows(self._database, _USERNAMES, [list(user_ids)]))

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of the namespace, or of the project's namespace."""
        return next((path for (path,) in _rows(self._database, _PATH_OF, {"full_path": full_path})), None)

    def full_path_of(self, path: str) -> str | None:
        """The full path of the namespace at a traversal path."""
        return next((full_path for (full_path,) in _rows(self._database, _FULL_PATH_OF, [path])), None)


def _rows(database: Database, statement: str, values: Any) -> list[Any]:
    return database.run(lambda connection: connection.execute(statement, values).fetchall())
