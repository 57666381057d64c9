"""`PostgresDirectory`: reads names of users, paths of namespaces, and projects from PostgreSQL."""

from collections.abc import Collection, Iterable
from typing import Any, LiteralString

from psycopg import sql

from functions.graphql.postgres.username_sql import username
from functions.graphql.query.store import LocatedProject
from functions.shared.grant import Grant
from functions.shared.postgres import Database

_USERNAMES = sql.SQL("SELECT asked.id, {username} FROM unnest(%(users)s::bigint[]) AS asked (id)")
_ASKED_USER, _GRANTED = sql.SQL("asked.id"), sql.Placeholder("granted")

_PATH_OF = "SELECT path FROM namespaces WHERE full_path = %s"

_PATH_OF_ID = "SELECT path FROM namespaces WHERE id = %s"

_FULL_PATH_OF = "SELECT full_path FROM namespaces WHERE path = %s"

_FULL_PATHS_OF = "SELECT path, full_path FROM namespaces WHERE path = ANY(%s) AND full_path IS NOT NULL"

_FULL_PATH_OF_PROJECT = "SELECT full_path FROM projects WHERE id = %s"

_PROJECT_OF = "SELECT id, namespace_path FROM projects WHERE full_path = %s"

_NAMESPACES_LIKE = """
    SELECT path, full_path
    FROM namespaces
    WHERE strpos(lower(full_path), lower(%(text)s)) > 0
      AND (
          %(everywhere)s
          OR EXISTS (
              SELECT FROM unnest(%(granted)s::text[]) AS granted (path) WHERE starts_with(namespaces.path, granted.path)
          )
      )
    ORDER BY length(full_path), full_path
    LIMIT %(limit)s
"""


class PostgresDirectory:
    """Reads names of users, paths of namespaces, and projects from PostgreSQL.

    Args:
        grant: the reader's grant, which limits the usernames and the lists of namespaces to see.
    """

    def __init__(self, database: Database, grant: Grant) -> None:
        self._database = database
        self._grant = grant

    def usernames(self, user_ids: Iterable[int]) -> dict[int, str]:
        """The usernames that the reader may see, by user id."""
        statement = _USERNAMES.format(username=username(_ASKED_USER, _GRANTED, everywhere=self._grant.sees_every_name))
        values = {"users": list(user_ids), "granted": list(self._grant.namespaces)}
        return {user_id: name for user_id, name in _rows(self._database, statement, values) if name is not None}

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of a namespace, by full path."""
        return next((path for (path,) in _rows(self._database, _PATH_OF, [full_path])), None)

    def path_of_id(self, namespace_id: int) -> str | None:
        """The traversal path of a namespace, by its id."""
        return next((path for (path,) in _rows(self._database, _PATH_OF_ID, [namespace_id])), None)

    def namespaces_like(self, text: str, limit: int) -> list[tuple[str, str]]:
        """Traversal and full paths of the reader's namespaces whose full path contains `text`, the shortest first."""
        grant = self._grant
        values = {
            "text": text,
            "everywhere": grant.is_everywhere,
            "granted": list(grant.namespaces),
            "limit": limit,
        }
        return [(path, full_path) for path, full_path in _rows(self._database, _NAMESPACES_LIKE, values)]

    def full_path_of(self, path: str) -> str | None:
        """The full path of a namespace, by traversal path."""
        return next((full_path for (full_path,) in _rows(self._database, _FULL_PATH_OF, [path])), None)

    def full_paths_of(self, paths: Collection[str]) -> dict[str, str]:
        """The full paths of namespaces, by traversal path."""
        return dict(_rows(self._database, _FULL_PATHS_OF, [list(paths)]))

    def full_path_of_project(self, project_id: int) -> str | None:
        """The full path of a project, by its id."""
        rows = _rows(self._database, _FULL_PATH_OF_PROJECT, [project_id])
        return next((full_path for (full_path,) in rows), None)

    def project_of(self, full_path: str) -> LocatedProject | None:
        """The project at a full path."""
        return next((LocatedProject(*row) for row in _rows(self._database, _PROJECT_OF, [full_path])), None)


def _rows(database: Database, statement: LiteralString | sql.Composed, values: Any) -> list[Any]:
    return database.run(lambda connection: connection.execute(statement, values).fetchall())
