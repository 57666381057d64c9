"""Relay connections of events: reads only what the query selects of each event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from graphql import GraphQLInterfaceType

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.global_id import EVENT, GlobalId
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path, payload_at_paths
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import EventPosition, PageWindow, RequestedFields, StoredEvent
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.connection import ConnectionPage
from functions.graphql.types.cursor import from_cursor, to_cursor
from functions.graphql.types.lookahead import Lookahead
from functions.shared.catalog.name_rules import KEYS_WITHOUT_FIELD
from functions.shared.catalog.names import camel_case
from functions.shared.catalog.registry import Registry

MAX_PAYLOAD_PATHS = 50  # paths of one field `payload`
MAX_PAGE_STEPS = 500  # steps of all paths of a page
_MAX_UUID = 2**128 - 1


@dataclass(frozen=True, slots=True)
class EventNode:
    """An event on a page.

    Attributes:
        payload: JSON; None if the query does not select the whole payload.
        values: JSON at each path that the query selects; None without a value.
    """

    id: UUID
    timestamp: datetime
    event: int
    user: UserNode
    namespace_path: str | None
    project_id: int | None
    payload: msgspec.Raw | None
    values: Mapping[Path, msgspec.Raw | None]

    @property
    def node_id(self) -> str:
        """The global id. It holds the timestamp, so that a store finds the event without a search."""
        return str(GlobalId(EVENT, _cursor_of(self)))

    def value(self, key: str) -> Any:
        """The value of a payload key that the query selects; None for numbers outside a double's range."""
        raw = self.values[(key,)]
        try:
            return None if raw is None else msgspec.json.decode(raw)
        except msgspec.ValidationError:
            return None


def event_connection(
    coverage: Coverage,
    info: Info,
    event_ids: Sequence[int],
    keys: Mapping[str, Sequence[str]],
    given: Mapping[str, Any],
) -> ConnectionPage[EventNode]:
    """A page of events.

    Args:
        event_ids: ids of the field's event types.
        keys: payload keys by the name of their field; features may have different keys with one field name.
        given: the field's arguments.

    Raises:
        InvalidArgument: an argument is invalid.
    """
    context = info.context
    selection = select(coverage, context.registry, context.today, given)
    selection = msgspec.structs.replace(
        selection, event_ids=tuple(event_id for event_id in selection.event_ids if event_id in event_ids)
    )
    page_request = arguments.page_request(given)
    beyond = page_request.position(from_cursor)
    context.budget.take(page_request.size)
    connection = Lookahead.of(info)
    requested = _requested_fields(info, [connection.below("nodes"), connection.below("edges").below("node")], keys)

    def read(limit: int) -> list[EventNode]:
        window = PageWindow(limit, beyond, page_request.backwards)
        return _nodes(context.events.events(selection, window, requested), requested, info)

    return ConnectionPage(page_request, read, _cursor_of, lambda: context.events.count(selection))


def event_at(
    position: EventPosition,
    coverage: Coverage,
    info: Info,
    event_ids: tuple[int, ...],
    keys: Mapping[str, Sequence[str]],
) -> EventNode | None:
    """The event at a position; None if the token may not read such an event, or none of `event_ids` is there."""
    context = info.context
    end = position.timestamp + timedelta(microseconds=1)
    selection = Selection(coverage.namespaces, position.timestamp, end, event_ids)
    requested = _requested_fields(info, [Lookahead.of(info)], keys)
    window = PageWindow(1, EventPosition(position.timestamp, UUID(int=min(position.id.int + 1, _MAX_UUID))))
    found = context.events.events(selection, window, requested)
    return _nodes(found, requested, info)[0] if found and found[0].id == position.id else None


def field_keys(registry: Registry) -> Mapping[str, Sequence[str]]:
    """The payload keys by the names of their fields; features may have different keys with one field name."""
    keys: dict[str, list[str]] = {}
    for feature in registry.features.values():
        for key in feature.payload_types:
            if key not in KEYS_WITHOUT_FIELD:
                keys.setdefault(camel_case(key), []).append(key)
    return keys


def resolve_payload(node: EventNode, _: Info, paths: Sequence[str] | None = None) -> object:
    """Resolves `payload`: the whole payload, or the values at the paths."""
    if paths is None:
        return node.payload
    requested_paths = _paths(tuple(paths))
    return payload_at_paths(requested_paths, [node.values[path] for path in requested_paths])


def _nodes(events: Sequence[StoredEvent], requested: RequestedFields, info: Info) -> list[EventNode]:
    users = Usernames((event.user_id for event in events), info.context.directory)
    return [
        EventNode(
            event.id,
            event.timestamp,
            event.event,
            UserNode(event.user_id, users),
            event.namespace_path,
            event.project_id,
            event.payload,
            dict(zip(requested.paths, event.values, strict=True)),
        )
        for event in events
    ]


def _cursor_of(node: EventNode) -> str:
    return to_cursor(EventPosition(node.timestamp, node.id))


def _requested_fields(info: Info, selected: Sequence[Lookahead], keys: Mapping[str, Sequence[str]]) -> RequestedFields:
    """What the query selects of the payloads on the page; `selected` are the places where it selects an event."""
    interface = info.schema.type_map["AiUsageEvent"]
    if not isinstance(interface, GraphQLInterfaceType):
        raise TypeError("AiUsageEvent must be an interface")
    whole = False
    paths: dict[Path, None] = {}
    names: set[str] = set()
    for nodes in selected:
        for given in nodes.below("payload").arguments(interface):
            if given.get("paths") is None:
                whole = True
            else:
                paths |= dict.fromkeys(_paths(tuple(given["paths"])))
        names.update(nodes.names())
    steps = sum(map(len, paths))
    if steps > MAX_PAGE_STEPS:
        raise InvalidArgument(f"The payload paths of a page have at most {MAX_PAGE_STEPS} steps in all, not {steps:,}.")
    paths |= {(key,): None for name in names for key in keys.get(name, ())}
    return RequestedFields(whole, tuple(paths))


@lru_cache
def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    return arguments.paths("payload", texts, MAX_PAYLOAD_PATHS)
