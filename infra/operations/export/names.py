"""`Names`: names of users, and full paths of namespaces, read as an export comes to need them."""

from collections.abc import Iterable, Mapping
from typing import Any, LiteralString

from functions.shared.postgres import Connection

MAX_KEPT = 100_000
"""Names that are kept of each kind, so that an export of any length takes little memory."""

_USERNAMES = "SELECT id, username FROM users WHERE id = ANY(%s) AND username IS NOT NULL"

_FULL_PATHS = "SELECT path, full_path FROM namespaces WHERE path = ANY(%s) AND full_path IS NOT NULL"


class Names:
    """The names that PostgreSQL's directory has."""

    def __init__(self, connection: Connection) -> None:
        self._usernames = _Kept[int](connection, _USERNAMES)
        self._full_paths = _Kept[str](connection, _FULL_PATHS)

    def usernames(self, user_ids: Iterable[int]) -> Mapping[int, str]:
        """Returns at least the newest names of these users, wherever they were stated, by user id."""
        return self._usernames.of(user_ids)

    def full_paths(self, paths: Iterable[str]) -> Mapping[str, str]:
        """Returns at least the full paths of these namespaces, by traversal path."""
        return self._full_paths.of(paths)


class _Kept[Key: (int, str)]:
    """Names of one kind that were read before, None for a key without a name."""

    def __init__(self, connection: Connection, statement: LiteralString) -> None:
        self._connection = connection
        self._statement = statement
        self._known: set[Key] = set()
        self._names: dict[Key, str] = {}

    def of(self, keys: Iterable[Key]) -> Mapping[Key, str]:
        wanted = set(keys)
        if len(self._known) > MAX_KEPT:
            self._known, self._names = set(), {}
        if missing := wanted - self._known:
            rows: Any = self._connection.execute(self._statement, [list(missing)])
            self._names |= dict(rows)
            self._known |= missing
        return self._names
