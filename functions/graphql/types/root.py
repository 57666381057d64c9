"""The types `Query` and `Namespace`: resolves them down to events and metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from ariadne import ObjectType, QueryType

from functions.graphql.context import Info, Scope
from functions.graphql.types.event_definitions import event_definitions
from functions.graphql.types.metrics import Metrics
from functions.graphql.types.node import namespace_id, node_resolver
from functions.graphql.types.usage import resolve_usage
from functions.shared.catalog.registry import Registry
from functions.shared.grant import is_traversal_path


@dataclass(frozen=True, slots=True)
class NamespaceNode:
    """A namespace that the token may read."""

    path: str
    full_path: str

    @property
    def scope(self) -> Scope:
        """The namespace and all below it."""
        return Scope((self.path,))


def top_level_types(registry: Registry, metrics: Metrics) -> tuple[QueryType, ObjectType]:
    """The types `Query` and `Namespace`."""
    query_type, namespace_type = QueryType(), ObjectType("Namespace")
    for field in ("namespace", "group", "project"):
        query_type.set_field(field, resolve_namespace)
    query_type.set_field("node", node_resolver(registry, resolve_namespace, _instance))
    namespace_type.set_field("id", lambda namespace, info: namespace_id(namespace.path, info))
    definitions = event_definitions(registry)
    query_type.set_field("eventDefinitions", lambda *_: definitions)
    query_type.set_field("aiInstanceUsageData", _instance)
    namespace_type.set_field("aiUsageData", lambda namespace, _: namespace.scope)
    for suffix, resolve in (
        ("Metrics", metrics.resolve_metrics),
        ("UserMetrics", metrics.resolve_user_metrics),
        ("Usage", resolve_usage),
    ):
        query_type.set_field(f"aiInstance{suffix}", _of_instance(resolve))
        namespace_type.set_field(f"ai{suffix}", _of_namespace(resolve))
    return query_type, namespace_type


def resolve_namespace(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """The namespace at a full path or traversal path; None if unknown or outside the grant."""
    context = info.context
    if "\0" in full_path:
        return None  # PostgreSQL refuses such a text
    path = full_path if is_traversal_path(full_path) else context.directory.path_of(full_path)
    if path is None or not context.grant.covers(path):
        return None
    if path == full_path:
        full_path = context.directory.full_path_of(path) or path
    return NamespaceNode(path, full_path)


def _instance(_: None, info: Info) -> Scope:
    """Everything that the token may read."""
    grant = info.context.grant
    return Scope(None if grant.is_everywhere else grant.namespaces)


def _of_instance[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda nothing, info, **given: resolve(_instance(nothing, info), info, **given)


def _of_namespace[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda namespace, info, **given: resolve(namespace.scope, info, **given)
