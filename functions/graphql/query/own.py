"""What a token that reads its own user's events alone is given in place of the stores.

The limit is set where the stores are asked, so that no field, page or order of the schema has to think of it.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from functions.graphql.query.selection import Selection
from functions.graphql.query.store import DirectoryReader, EventStore, LocatedProject
from functions.shared.grant import Grant


def own_user_id(grant: Grant) -> int:
    """The user whose events alone the grant allows reading.

    Raises:
        ValueError: the grant names no user's id.
    """
    if grant.user_id is None:
        raise ValueError("sub is no user's id")
    return grant.user_id


class OwnEvents:
    """An `EventStore` that finds the events of one user alone, wherever these lie, whatever is asked for.

    Every method of the store is asked with each `Selection` in its arguments limited to the user.
    """

    def __init__(self, store: EventStore, user_id: int) -> None:
        self._store = store
        self._user_id = user_id

    def __getattr__(self, name: str) -> Any:
        """The store's attribute, limited if it is a method.

        Raises:
            TypeError: when called, no argument holds a selection that could be limited.
        """
        attribute = getattr(self._store, name)
        return self._limited_method(attribute) if callable(attribute) else attribute

    def _limited_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def limited(*arguments: Any) -> Any:
            given = [self._limited(argument) for argument in arguments]
            if all(new is old for new, old in zip(given, arguments, strict=True)):
                raise TypeError(f"{method.__name__} has no selection that could be limited to one user")
            return method(*given)

        return limited

    def _limited(self, value: Any) -> Any:
        """The value with every selection in it limited to the user; the value itself if there is none in it."""
        if isinstance(value, Selection):
            is_asked = value.user_ids is None or self._user_id in value.user_ids
            return msgspec.structs.replace(value, user_ids=(self._user_id,) if is_asked else ())
        if isinstance(value, tuple | list):
            items = [self._limited(item) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else tuple(items)
        if isinstance(value, msgspec.Struct):
            parts = {name: getattr(value, name) for name in value.__struct_fields__}
            limited = {name: self._limited(part) for name, part in parts.items()}
            changed = {name: part for name, part in limited.items() if part is not parts[name]}
            return msgspec.structs.replace(value, **changed) if changed else value
        return value


class OwnDirectory:
    """A `DirectoryReader` that knows the name of one user, and nothing else."""

    def __init__(self, directory: DirectoryReader, user_id: int) -> None:
        self._directory = directory
        self._user_id = user_id

    def usernames(self, user_ids: set[int]) -> dict[int, str]:
        """See `DirectoryReader.usernames`."""
        return self._directory.usernames({self._user_id} & set(user_ids))

    def path_of(self, full_path: str) -> str | None:  # noqa: ARG002
        """See `DirectoryReader.path_of`."""
        return None

    def path_of_id(self, namespace_id: int) -> str | None:  # noqa: ARG002
        """See `DirectoryReader.path_of_id`."""
        return None

    def namespaces_like(self, text: str, limit: int) -> list[tuple[str, str]]:  # noqa: ARG002
        """See `DirectoryReader.namespaces_like`."""
        return []

    def full_path_of(self, path: str) -> str | None:  # noqa: ARG002
        """See `DirectoryReader.full_path_of`."""
        return None

    def full_paths_of(self, paths: Collection[str]) -> dict[str, str]:  # noqa: ARG002
        """See `DirectoryReader.full_paths_of`."""
        return {}

    def full_path_of_project(self, project_id: int) -> str | None:  # noqa: ARG002
        """See `DirectoryReader.full_path_of_project`."""
        return None

    def project_of(self, full_path: str) -> LocatedProject | None:  # noqa: ARG002
        """See `DirectoryReader.project_of`."""
        return None
