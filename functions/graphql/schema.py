"""The GraphQL schema: a fixed part, and what is made from the definitions."""

from collections.abc import Iterator
from pathlib import Path

from ariadne import EnumType, make_executable_schema
from graphql import GraphQLSchema
from graphql.language.block_string import print_block_string

from functions.graphql.resolvers import RESOLVERS, event_interface
from functions.graphql.scalars import SCALARS
from functions.shared.feature import Feature
from functions.shared.registry import EventType, Registry

_FIXED = Path(__file__).with_name("schema.graphql")

_EVENT_FIELDS = """\
  id: ID!
  timestamp: Time!
  event: AiUsageEventType!
  user: User!
  "Ids from the root, each followed by a slash; null for an event without a namespace."
  namespacePath: String
  "What the event carries."
  payload: JSON!
"""


def schema_text(registry: Registry) -> str:
    """The whole schema in GraphQL's own language."""
    parts = [_FIXED.read_text(), _event_interface_text(), _event_enum_text(registry)]
    parts += map(_event_type_text, registry.features.values())
    return "\n".join(parts)


def executable_schema(registry: Registry) -> GraphQLSchema:
    """The schema with what resolves it."""
    event_enum = EnumType("AiUsageEventType", {event.name.upper(): event.id for event in registry.events.values()})
    interface = event_interface(registry)
    return make_executable_schema(
        schema_text(registry), event_enum, interface, *SCALARS, *RESOLVERS, convert_names_case=True
    )


def _event_interface_text() -> str:
    return f'"Something that a user did with an AI feature."\ninterface AiUsageEvent {{\n{_EVENT_FIELDS}}}\n'


def _event_type_text(feature: Feature) -> str:
    description = _description(feature.description or f"Events of {feature.name}.")
    return f"{description}\ntype {feature.type_name} implements AiUsageEvent {{\n{_EVENT_FIELDS}}}\n"


def _event_enum_text(registry: Registry) -> str:
    values = "\n".join(line for event in registry.events.values() for line in _enum_value_lines(event))
    return f'"The events that definitions name."\nenum AiUsageEventType {{\n{values}\n}}\n'


def _enum_value_lines(event: EventType) -> Iterator[str]:
    summary = event.feature.description.partition("\n")[0] or event.feature.name
    yield f"  {_description(f'{summary} Id {event.id}, owned by {event.feature.owner}.')}"
    deprecation = ' @deprecated(reason: "No longer accepted; old events can still be read.")'
    yield f"  {event.name.upper()}{deprecation if event.deprecated else ''}"


def _description(text: str) -> str:
    """`text` as GraphQL's block string, which may hold quotes."""
    return print_block_string(text)
