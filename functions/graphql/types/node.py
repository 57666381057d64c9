"""`node`: finds an object again by its global id."""

import re
from collections.abc import Callable
from typing import Any

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.global_id import EVENT, NAMESPACE, PROJECT, USER, GlobalId, read_global_id
from functions.graphql.types.cursor import from_cursor
from functions.graphql.types.event_node import EventNode, event_at, field_keys
from functions.shared.catalog.registry import Registry
from functions.shared.grant import is_traversal_path

_GROUP = "Group"  # what GitLab's clients call a namespace
_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_MAX_ID = 2**63 - 1

type NamespaceAt = Callable[[None, Info, str], Any]
"""Returns the group or project at a path, if the token may read it."""


def namespace_id(path: str, info: Info) -> str:
    """The global id of a namespace. It stays when the namespace moves.

    Only a namespace that the directory does not know is named by its path.
    """
    number = _last_id(path)
    is_known = _is_id(number) and info.context.directory.path_of_id(int(number)) == path
    return str(GlobalId(NAMESPACE, number if is_known else path))


def node_resolver(
    registry: Registry, group_at: NamespaceAt, project_at: NamespaceAt, readable: Callable[[None, Info], Coverage]
) -> Any:
    """The resolver of `node`.

    Args:
        readable: returns everything that the token may read.
    """
    event_ids, keys = tuple(registry.by_id), field_keys(registry)

    def namespace(info: Info, key: str) -> Any:
        names_path = is_traversal_path(key)
        number = _last_id(key) if names_path else key
        path = info.context.directory.path_of_id(int(number)) if _is_id(number) else None
        if path is None and names_path:
            path = key
        return None if path is None else group_at(None, info, path)

    def project(info: Info, key: str) -> Any:
        full_path = info.context.directory.full_path_of_project(int(key)) if _is_id(key) else None
        return None if full_path is None else project_at(None, info, full_path)

    def user(info: Info, key: str) -> UserNode | None:
        grant = info.context.grant
        if grant.reads_own_only and key != grant.sub:
            return None
        return UserNode(int(key), Usernames([int(key)], info.context.directory)) if _is_id(key) else None

    def event(info: Info, key: str) -> EventNode | None:
        try:
            position = from_cursor(key)
        except ValueError:
            return None
        return event_at(position, readable(None, info), info, event_ids, keys)

    finders = {NAMESPACE: namespace, _GROUP: namespace, PROJECT: project, USER: user, EVENT: event}

    def resolve(_: None, info: Info, id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        found = read_global_id(id)
        info.context.budget.take(1)
        return finders[found.type](info, found.key) if found and found.type in finders else None

    return resolve


def _last_id(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _is_id(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and int(text) <= _MAX_ID
