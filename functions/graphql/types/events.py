"""Event types of the schema: the interface `AiUsageEvent`, and for each feature a type with its payload's fields."""

from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from typing import Any

import msgspec
from ariadne import EnumType, InterfaceType, ObjectType, SchemaBindable

from functions.graphql.context import Coverage, Info, UserNode
from functions.graphql.global_id import DATA, GlobalId
from functions.graphql.types.descriptions import Descriptions
from functions.graphql.types.event_connection import event_connection, resolve_list
from functions.graphql.types.event_node import EventNode, resolve_payload
from functions.graphql.types.event_plan import EventTypes
from functions.graphql.types.payload_fields import typed_value
from functions.graphql.types.sdl import FILTERS, PAGE, connection, deprecated, description, implementing
from functions.graphql.types.team_fields import team_field_resolver
from functions.shared.catalog.event_query import Resolver
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.name_rules import KEYS_WITHOUT_FIELD
from functions.shared.catalog.names import camel_case, enum_value
from functions.shared.catalog.payload_type import PayloadType, key_types, nested_classes, object_class, payload_type
from functions.shared.catalog.registry import EventType, Registry

_FIELDS = """\
  "The id under which the event is stored, a UUID."
  id: ID!
  "The global id, for `node`."
  nodeId: ID!
  "When the event happened."
  timestamp: Time!
  "The name of the event."
  event: AiUsageEventType!
  "Who did it."
  user: User!
  "Ids from the root, each followed by a slash; null for an event without a namespace."
  namespacePath: String
  "The project's id; null for an event without a project."
  projectId: Long
  "What the event carries: all of it, or just what is at the paths."
  payload(
    "Paths into the payload; all of it where they are not given."
    paths: [String!]
  ): JSON!
  "Another name of `payload`."
  extras(
    "Paths into the payload; all of it where they are not given."
    paths: [String!]
  ): JSON!
"""

_DATA_ID = '"An id for caches; `node` does not take it."\nid: ID!\n'

_SCALARS: dict[Any, str] = {str: "String", int: "Long", float: "Float", bool: "Boolean", datetime: "Time"}


def event_types_text(registry: Registry) -> str:
    """The schema text of event types, their connections, and `AiUsageData`."""
    parts = [
        f'"Something that a user did with an AI feature."\ninterface AiUsageEvent implements Node {{\n{_FIELDS}}}\n',
        connection("AiUsageEvent", "events"),
        _event_enum_text(registry),
        _feature_enum_text(registry),
    ]
    fields = [_connection_field("all", "AiUsageEvent", "Events of all features, newest first.")]
    for feature in registry.features.values():
        parts += _feature_texts(feature)
        about = f"Events of {feature.name}, newest first."
        fields += [
            _connection_field(field, feature.type_name, about, reason)
            for field, reason in feature.connection_fields.items()
        ]
        fields += map(_resolver_field, feature.resolvers.values())
    parts.append(f'"How people used AI features."\ntype AiUsageData {{\n{_DATA_ID}{"".join(fields)}}}\n')
    return "\n".join(parts)


def event_bindables(registry: Registry) -> Iterator[SchemaBindable]:
    """The resolvers of these types."""
    yield EnumType("AiUsageEventType", {enum_value(event.name): event.id for event in registry.events.values()})
    # An answer shows the first of a value's names.
    features = {feature.enum_value: feature.name for feature in registry.features.values()}
    former = {enum_value(name): feature.name for feature in registry.features.values() for name in feature.former_names}
    yield EnumType("AiUsageFeature", features | former)
    yield from _interfaces(registry)
    yield _data_type(registry)
    for name in ("AiUsageEvent", *(feature.type_name for feature in registry.features.values())):
        connection_type = ObjectType(f"{name}Connection")
        connection_type.set_field("nodes", resolve_list)
        connection_type.set_field("edges", resolve_list)
        yield connection_type
    for feature in registry.features.values():
        event_type = ObjectType(feature.type_name)
        event_type.set_field("payload", resolve_payload)
        event_type.set_field("extras", resolve_payload)
        for key, key_type in feature.payload_types.items():
            if key not in KEYS_WITHOUT_FIELD:
                event_type.set_field(camel_case(key), _payload_resolver(key, key_type))
        yield event_type
        yield from _nested_types(feature)


def _interfaces(registry: Registry) -> Iterator[InterfaceType]:
    """The interfaces `AiUsageEvent` and `Node`, which resolve an event to its feature's type."""
    type_names = {event.id: event.feature.type_name for event in registry.events.values()}

    def type_of(node: EventNode, *_: object) -> str:
        return type_names[node.event]

    def type_of_node(node: Any, *_: object) -> str:
        if isinstance(node, EventNode):
            return type_names[node.event]
        return "User" if isinstance(node, UserNode) else "Namespace"

    yield InterfaceType("AiUsageEvent", type_of)
    yield InterfaceType("Node", type_of_node)


def _data_type(registry: Registry) -> ObjectType:
    types = EventTypes(registry)
    data_type = ObjectType("AiUsageData")
    data_type.set_field("id", lambda coverage, _: str(GlobalId(DATA, _key_of(coverage))))
    data_type.set_field("all", _connection_resolver(tuple(registry.by_id), types))
    for feature in registry.features.values():
        for field in feature.connection_fields:
            data_type.set_field(field, _connection_resolver(tuple(feature.all_ids.values()), types))
        for resolver in feature.resolvers.values():
            data_type.set_field(resolver.name, team_field_resolver(feature, resolver.function))
    return data_type


def _key_of(coverage: Coverage) -> str:
    namespaces = "*" if coverage.namespaces is None else ",".join(coverage.namespaces)
    return namespaces if coverage.project_id is None else f"{namespaces};{coverage.project_id}"


def _connection_resolver(event_ids: tuple[int, ...], types: EventTypes) -> Any:
    def resolve(coverage: Coverage, info: Info, **given: Any) -> Any:
        return event_connection(coverage, info, event_ids, types, given)

    return resolve


def _payload_resolver(key: str, key_type: PayloadType) -> Any:
    def resolve(node: EventNode, _: Info) -> Any:
        return typed_value(node.value(key), key_type)

    return resolve


def _nested_types(feature: Feature) -> Iterator[ObjectType]:
    for nested in nested_classes(feature.payload) if feature.payload else ():
        nested_type = ObjectType(feature.nested_type_name(nested))
        for key, key_type in key_types(nested).items():
            nested_type.set_field(camel_case(key), _nested_resolver(key, key_type))
        yield nested_type


def _nested_resolver(key: str, key_type: PayloadType) -> Any:
    def resolve(value: Mapping[str, Any], _: Info) -> Any:
        return typed_value(value.get(key), key_type)

    return resolve


def _connection_field(name: str, node_type: str, about: str, deprecation: str = "") -> str:
    return f"{description(about)}{name}(\n{FILTERS}{PAGE}): {node_type}Connection!{deprecated(deprecation)}\n"


def _resolver_field(resolver: Resolver) -> str:
    about = description(resolver.description or f"The field `{resolver.name}` of a definition.")
    return f"{about}{resolver.name}(\n{FILTERS}): {resolver.returns}\n"


def _feature_texts(feature: Feature) -> Iterator[str]:
    descriptions = Descriptions.of(feature)
    of_class = descriptions.payload_class(feature.payload) if feature.payload else ""
    fields = _payload_fields(feature, feature.payload, descriptions, KEYS_WITHOUT_FIELD) if feature.payload else ""
    about = description(of_class or feature.description or f"Events of {feature.name}.")
    former_types = feature.former_type_names[feature.type_name]
    for former in former_types:
        former_about = description(f"The former name of `{feature.type_name}`, for fragments.")
        yield f"{former_about}interface {former} implements AiUsageEvent & Node {{\n{_FIELDS}{fields}}}\n"
    interfaces = implementing("AiUsageEvent", "Node", *former_types)
    yield f"{about}type {feature.type_name}{interfaces} {{\n{_FIELDS}{fields}}}\n"
    yield connection(feature.type_name, f"events of {feature.name}")
    for nested in nested_classes(feature.payload) if feature.payload else ():
        fields = _payload_fields(feature, nested, descriptions)
        about = description(descriptions.payload_class(nested) or f"A part of the payload of {feature.name}.")
        yield f"{about}type {feature.nested_type_name(nested)} {{\n{fields}}}\n"


def _payload_fields(
    feature: Feature, payload_class: type[msgspec.Struct], descriptions: Descriptions, omitted: Set[str] = frozenset()
) -> str:
    lines = []
    for field in msgspec.structs.fields(payload_class):
        key = field.encode_name
        if key in omitted:
            continue
        about = description(descriptions.key(payload_class, key) or f"The payload's `{key}`.")
        lines.append(f"{about}{camel_case(key)}: {_type_text(feature, field.type)}\n")
    return "".join(lines)


def _type_text(feature: Feature, annotation: Any) -> str:
    """The GraphQL type of a payload key. It is nullable, since stored payloads may lack the key."""
    key_type, lists = payload_type(annotation), 0
    while isinstance(key_type, list):
        key_type, lists = key_type[0], lists + 1
    nested = object_class(annotation)
    name = feature.nested_type_name(nested) if nested else _SCALARS[key_type]
    return "[" * lists + name + "]" * lists


def _event_enum_text(registry: Registry) -> str:
    values = "".join(line for event in registry.events.values() for line in _enum_value_lines(event))
    return f'"The events that definitions name."\nenum AiUsageEventType {{\n{values}}}\n'


def _enum_value_lines(event: EventType) -> Iterator[str]:
    descriptions = Descriptions.of(event.feature).event(event.name)
    yield description(f"{descriptions} Id {event.id}, owned by {event.feature.owner}.".strip())
    reason = "No longer accepted; old events can still be read." if event.deprecated else ""
    yield f"{enum_value(event.name)}{deprecated(reason)}\n"


def _feature_enum_text(registry: Registry) -> str:
    values = ""
    for feature in registry.features.values():
        summary = feature.description.partition("\n\n")[0] or f"The feature {feature.name}."
        values += f"{description(summary)}{feature.enum_value}\n"
        for name in feature.former_names:
            values += f"{description(summary)}{enum_value(name)}{deprecated(f'Use `{feature.enum_value}`.')}\n"
    return f'"The features that definitions name."\nenum AiUsageFeature {{\n{values}}}\n'
