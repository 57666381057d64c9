"""The types `Query` and `Namespace`: resolves them down to events and metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from ariadne import ObjectType, QueryType

from functions.graphql.context import Coverage, Info
from functions.graphql.global_id import PROJECT, GlobalId
from functions.graphql.types.event_definitions import event_definitions
from functions.graphql.types.metrics import Metrics
from functions.graphql.types.node import namespace_id, node_resolver
from functions.graphql.types.usage import resolve_usage
from functions.shared.catalog.registry import Registry
from functions.shared.grant import is_traversal_path


@dataclass(frozen=True, slots=True)
class NamespaceNode:
    """A group or project that the token may read.

    Attributes:
        path: traversal path; of a project that of its namespace, empty if unknown.
        known_full_path: full path; None if it was not needed to find the namespace.
        coverage: the events of the group and of all below it, or of the project.
    """

    path: str
    known_full_path: str | None
    coverage: Coverage


def top_level_types(registry: Registry, metrics: Metrics) -> tuple[QueryType, ObjectType]:
    """The types `Query` and `Namespace`."""
    query_type, namespace_type = QueryType(), ObjectType("Namespace")
    query_type.set_field("namespace", resolve_namespace)
    query_type.set_field("group", resolve_group)
    query_type.set_field("project", resolve_project)
    query_type.set_field("node", node_resolver(registry, resolve_group, resolve_project, _instance))
    namespace_type.set_field("id", _global_id)
    namespace_type.set_field("fullPath", _full_path)
    definitions = event_definitions(registry)
    query_type.set_field("eventDefinitions", lambda *_: definitions)
    query_type.set_field("aiInstanceUsageData", _instance)
    namespace_type.set_field("aiUsageData", lambda namespace, _: namespace.coverage)
    for suffix, resolve in (
        ("Metrics", metrics.resolve_metrics),
        ("UserMetrics", metrics.resolve_user_metrics),
        ("Usage", resolve_usage),
    ):
        query_type.set_field(f"aiInstance{suffix}", _of_instance(resolve))
        namespace_type.set_field(f"ai{suffix}", _of_namespace(resolve))
    return query_type, namespace_type


def resolve_namespace(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """The group at a full path or traversal path, else the project at a full path; None if outside the grant."""
    return resolve_group(_, info, full_path) or resolve_project(_, info, full_path)


def resolve_group(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """The group at a full path or traversal path; None if unknown or outside the grant."""
    context = info.context
    if "\0" in full_path:
        return None  # PostgreSQL refuses such a text
    path = full_path if is_traversal_path(full_path) else context.directory.path_of(full_path)
    if path is None or not context.grant.covers(path):
        return None
    return NamespaceNode(path, None if path == full_path else full_path, Coverage((path,)))


def resolve_project(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """The project at a full path; None if unknown or outside the grant.

    The project's events are those in its namespace and below: elsewhere, senders of other namespaces may have named the
    project. Only `*` covers a project whose namespace is unknown, and any event may belong to it.
    """
    context = info.context
    if "\0" in full_path or is_traversal_path(full_path):
        return None
    project = context.directory.project_of(full_path)
    if project is None or not context.grant.covers(project.namespace_path):
        return None
    path = project.namespace_path
    return NamespaceNode(path or "", full_path, Coverage((path,) if path else None, project.id))


def _global_id(namespace: NamespaceNode, info: Info) -> str:
    project_id = namespace.coverage.project_id
    return namespace_id(namespace.path, info) if project_id is None else str(GlobalId(PROJECT, str(project_id)))


def _full_path(namespace: NamespaceNode, info: Info) -> str:
    return namespace.known_full_path or info.context.directory.full_path_of(namespace.path) or namespace.path


def _instance(_: None, info: Info) -> Coverage:
    """Everything that the token may read."""
    grant = info.context.grant
    # Own events lie anywhere: the store finds no others then, see `OwnEvents`.
    return Coverage(None if grant.is_everywhere or grant.reads_own_only else grant.namespaces)


def _of_instance[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda nothing, info, **given: resolve(_instance(nothing, info), info, **given)


def _of_namespace[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda namespace, info, **given: resolve(namespace.coverage, info, **given)
