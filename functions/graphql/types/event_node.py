"""`EventNode`: a single event that a query finds by its global id."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from graphql import GraphQLInterfaceType

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.global_id import EVENT as EVENT_KIND
from functions.graphql.global_id import GlobalId
from functions.graphql.query.path import Path, payload_at_paths
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import (
    EVENT,
    FIRST_PATH,
    ID,
    NAMESPACE_PATH,
    PAYLOAD,
    PROJECT_ID,
    TIMESTAMP,
    USER_ID,
    EventPosition,
    EventRow,
    PageWindow,
    RequestedFields,
)
from functions.graphql.types.cursor import to_cursor
from functions.graphql.types.event_plan import check_steps, payload_paths
from functions.graphql.types.lookahead import Lookahead
from functions.graphql.types.payload_columns import json_value
from functions.shared.catalog.name_rules import KEYS_WITHOUT_FIELD
from functions.shared.catalog.names import camel_case
from functions.shared.catalog.registry import Registry

_MAX_UUID = 2**128 - 1


class EventNode(msgspec.Struct, frozen=True):
    """An event.

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
        return str(GlobalId(EVENT_KIND, to_cursor(EventPosition(self.timestamp, self.id))))

    def value(self, key: str) -> Any:
        """The value of a payload key that the query selects; None for numbers outside a double's range."""
        return json_value(self.values[(key,)])


def event_at(
    position: EventPosition,
    coverage: Coverage,
    info: Info,
    event_ids: tuple[int, ...],
    keys: Mapping[str, Sequence[str]],
) -> EventNode | None:
    """The event at a position; None if the token may not read such an event, or none of `event_ids` is there.

    Args:
        keys: payload keys by the name of their field; features may have different keys with one field name.
    """
    context = info.context
    end = position.timestamp + timedelta(microseconds=1)
    selection = Selection(coverage.namespaces, position.timestamp, end, event_ids)
    requested = _requested_fields(info, keys)
    window = PageWindow(1, EventPosition(position.timestamp, UUID(int=min(position.id.int + 1, _MAX_UUID))))
    found = context.events.events(selection, window, requested)
    return event_node(found[0], requested, info) if found and found[0][ID] == position.id else None


def event_node(row: EventRow, requested: RequestedFields, info: Info) -> EventNode:
    """The event of a row without usernames and scalar keys."""
    payload, *values = (None if text is None else msgspec.Raw(text) for text in (row[PAYLOAD], *row[FIRST_PATH:]))
    return EventNode(
        row[ID],
        row[TIMESTAMP],
        row[EVENT],
        UserNode(row[USER_ID], Usernames([row[USER_ID]], info.context.directory)),
        row[NAMESPACE_PATH],
        row[PROJECT_ID],
        payload,
        dict(zip(requested.paths, values, strict=True)),
    )


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
    requested_paths = payload_paths(tuple(paths))
    return payload_at_paths(requested_paths, [node.values[path] for path in requested_paths])


def _requested_fields(info: Info, keys: Mapping[str, Sequence[str]]) -> RequestedFields:
    """What the query selects of the event that is being resolved."""
    interface = info.schema.type_map["AiUsageEvent"]
    if not isinstance(interface, GraphQLInterfaceType):
        raise TypeError("AiUsageEvent must be an interface")
    selected = Lookahead.of(info)
    given = [arguments.get("paths") for arguments in selected.below("payload", "extras").arguments(interface)]
    paths = dict.fromkeys(path for texts in given if texts is not None for path in payload_paths(tuple(texts)))
    check_steps(paths)
    paths |= {(key,): None for name in selected.names() for key in keys.get(name, ())}
    return RequestedFields(payload=None in given, paths=tuple(paths))
