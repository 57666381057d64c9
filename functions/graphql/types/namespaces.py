"""`namespaces`: finds groups that the token may read by a part of their full path."""

from typing import Any

from ariadne import QueryType

from functions.graphql.context import Coverage, Info
from functions.graphql.types import arguments
from functions.graphql.types.namespace_node import NamespaceNode
from functions.shared.grant import READ


def namespaces_text() -> str:
    """The schema text of the field."""
    return """\
extend type Query {
  "The groups that the token may read and whose full path is known, those of the shortest path first."
  namespaces(
    "A part of the full path, in small or capital letters; all groups where it is not given."
    search: String
    "How many groups to return: 100 where it is not given, at most 1,000."
    first: Int
  ): [Namespace!]!
}
"""


def namespaces_bindable() -> QueryType:
    """The resolver of the field."""
    query_type = QueryType()
    query_type.set_field("namespaces", resolve_namespaces)
    return query_type


def resolve_namespaces(_: Any, info: Info, search: str | None = None, first: int | None = None) -> list[NamespaceNode]:
    """The groups whose full path contains the text; none for a token that reads only its own user's events."""
    context = info.context
    size = arguments.size("first", first)
    context.budget.take(size)
    text = search or ""
    if size == 0 or "\0" in text or READ not in context.grant.scopes:
        return []
    found = context.directory.namespaces_like(text, size)
    return [NamespaceNode(path, full_path, Coverage((path,))) for path, full_path in found]
