"""`eventDefinitions`: lists every defined event with its owner, description and payload keys."""

from collections.abc import Iterator

import msgspec

from functions.graphql.types.descriptions import Descriptions
from functions.shared.catalog.payload_type import describe, object_class, payload_type
from functions.shared.catalog.registry import EventType, Registry


class PayloadKey(msgspec.Struct, frozen=True):
    """A payload key, or a path of keys joined by dots."""

    name: str
    type: str
    description: str


class EventDefinition(msgspec.Struct, frozen=True):
    """A defined event."""

    id: int
    name: str
    feature: str
    owner: str
    deprecated: bool
    description: str
    payload: list[PayloadKey]


def event_definitions(registry: Registry) -> list[EventDefinition]:
    """All defined events, sorted by id."""
    return [_definition(event) for event in sorted(registry.events.values(), key=lambda event: event.id)]


def _definition(event: EventType) -> EventDefinition:
    feature, descriptions = event.feature, Descriptions.of(event.feature)
    return EventDefinition(
        event.id,
        event.name,
        feature.name,
        feature.owner,
        event.deprecated,
        descriptions.event(event.name),
        list(_keys(event.payload_class, descriptions)) if event.payload_class else [],
    )


def _keys(payload_class: type[msgspec.Struct], descriptions: Descriptions, prefix: str = "") -> Iterator[PayloadKey]:
    for field in msgspec.structs.fields(payload_class):
        key_type = payload_type(field.type)
        name = f"{prefix}{field.encode_name}"
        yield PayloadKey(name, describe(key_type), descriptions.key(payload_class, field.encode_name))
        nested = object_class(field.type)
        if isinstance(key_type, dict) and nested:
            yield from _keys(nested, descriptions, f"{name}.")
