"""`PostgresDirectory`: reads names of users, paths of namespaces, and projects from PostgreSQL."""

from collections.abc import Iterable
from typing import Any

from functions.graphql.query.store import LocatedProject
from functions.shared.grant import Grant
from functions.shared.postgres import Database

_OVERALL_USERNAMES = "SELECT id, username FROM users WHERE id = ANY(%(users)s) AND username IS NOT NULL"

# The newest name of each user that a fact states in a namespace that the token may read.
_USERNAMES = """
    SELECT DISTINCT ON (user_id) user_id, username
    FROM user_names
    WHERE user_id = ANY(%(users)s)
      AND username IS NOT NULL
      AND EXISTS (
          SELECT FROM unnest(%(namespaces)s::text[]) AS granted (path) WHERE starts_with(namespace_path, granted.path)
      )
    ORDER BY user_id, stated_at DESC, username DESC
"""

_PATH_OF = "SELECT path FROM namespaces WHERE full_path = %s"

_PATH_OF_ID = "SELECT path FROM namespaces WHERE id = %s"

_FULL_PATH_OF = "SELECT full_path FROM namespaces WHERE path = %s"

_FULL_PATH_OF_PROJECT = "SELECT full_path FROM projects WHERE id = %s"

_PROJECT_OF = "SELECT id, namespace_path FROM projects WHERE full_path = %s"


class PostgresDirectory:
    """Reads names of users, paths of namespaces, and projects from PostgreSQL.

    Args:
        grant: the reader's grant, which limits the usernames to see.
    """

    def __init__(self, database: Database, grant: Grant) -> None:
        self._database = database
        self._grant = grant

    def usernames(self, user_ids: Iterable[int]) -> dict[int, str]:
        """The usernames that the reader may see, by user id.

        Readers of a namespace see the newest name that an authoritative sender stated in the namespace. Readers of
        everything see the newest name that a sender without a limit stated; without one, the newest name overall.
        """
        statement = _OVERALL_USERNAMES if self._grant.is_everywhere else _USERNAMES
        values = {"users": list(user_ids), "namespaces": list(self._grant.namespaces)}
        return dict(_rows(self._database, statement, values))

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of a namespace, by full path."""
        return next((path for (path,) in _rows(self._database, _PATH_OF, [full_path])), None)

    def path_of_id(self, namespace_id: int) -> str | None:
        """The traversal path of a namespace, by its id."""
        return next((path for (path,) in _rows(self._database, _PATH_OF_ID, [namespace_id])), None)

    def full_path_of(self, path: str) -> str | None:
        """The full path of a namespace, by traversal path."""
        return next((full_path for (full_path,) in _rows(self._database, _FULL_PATH_OF, [path])), None)

    def full_path_of_project(self, project_id: int) -> str | None:
        """The full path of a project, by its id."""
        rows = _rows(self._database, _FULL_PATH_OF_PROJECT, [project_id])
        return next((full_path for (full_path,) in rows), None)

    def project_of(self, full_path: str) -> LocatedProject | None:
        """The project at a full path."""
        return next((LocatedProject(*row) for row in _rows(self._database, _PROJECT_OF, [full_path])), None)


def _rows(database: Database, statement: str, values: Any) -> list[Any]:
    return database.run(lambda connection: connection.execute(statement, values).fetchall())
