"""The types `Query` and `Namespace`: resolves them down to events and metrics."""

from collections.abc import Callable

from ariadne import ObjectType, QueryType

from functions.graphql.context import Coverage, Info
from functions.graphql.global_id import PROJECT, GlobalId
from functions.graphql.types.canary import resolve_canary_event
from functions.graphql.types.event_definitions import event_definitions
from functions.graphql.types.metric_definitions import metric_definitions
from functions.graphql.types.metrics import Metrics
from functions.graphql.types.namespace_node import (
    NamespaceNode,
    find_group,
    find_namespace,
    find_project,
)
from functions.graphql.types.node import namespace_id, node_resolver
from functions.graphql.types.people import PEOPLE_RESOLVERS
from functions.graphql.types.usage import resolve_usage
from functions.shared.catalog.registry import Registry


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
    declared_metrics = metric_definitions(registry)
    query_type.set_field("metricDefinitions", lambda *_: declared_metrics)
    query_type.set_field("canaryEvent", resolve_canary_event)
    query_type.set_field("aiInstanceUsageData", _instance)
    query_type.set_field("aiUsageData", _instance)
    namespace_type.set_field("aiUsageData", lambda namespace, _: namespace.coverage)
    for suffix, resolve in (
        ("Metrics", metrics.resolve_metrics),
        ("UserMetrics", metrics.resolve_user_metrics),
        ("Usage", resolve_usage),
        *PEOPLE_RESOLVERS.items(),
    ):
        query_type.set_field(f"aiInstance{suffix}", _of_instance(resolve))
        namespace_type.set_field(f"ai{suffix}", _of_namespace(resolve))
    return query_type, namespace_type


def resolve_namespace(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """See `find_namespace`."""
    return find_namespace(info.context.grant, info.context.directory, full_path)


def resolve_group(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """See `find_group`."""
    return find_group(info.context.grant, info.context.directory, full_path)


def resolve_project(_: None, info: Info, full_path: str) -> NamespaceNode | None:
    """See `find_project`."""
    return find_project(info.context.grant, info.context.directory, full_path)


def _global_id(namespace: NamespaceNode, info: Info) -> str:
    project_id = namespace.coverage.project_id
    return namespace_id(namespace.path, info) if project_id is None else str(GlobalId(PROJECT, str(project_id)))


def _full_path(namespace: NamespaceNode, info: Info) -> str:
    return namespace.known_full_path or info.context.directory.full_path_of(namespace.path) or namespace.path


def _instance(_: None, info: Info) -> Coverage:
    """Everything that the token may read."""
    return info.context.readable


def _of_instance[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda nothing, info, **given: resolve(_instance(nothing, info), info, **given)


def _of_namespace[Result](resolve: Callable[..., Result]) -> Callable[..., Result]:
    return lambda namespace, info, **given: resolve(namespace.coverage, info, **given)
