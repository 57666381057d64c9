"""The fields about people: their schema text, and their resolvers by the ends of their names."""

from collections.abc import Callable, Mapping
from typing import Any

from functions.graphql.types import active_users

PEOPLE_RESOLVERS: Mapping[str, Callable[..., Any]] = {
    "ActiveUsers": active_users.resolve_active_users,
}
"""Resolvers of a field of `Namespace` like `aiActiveUsers`, and of its twin of `Query` like `aiInstanceActiveUsers`."""


def people_text() -> str:
    """The schema text of the fields and of their rows."""
    return active_users.TEXT
