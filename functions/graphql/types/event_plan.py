"""`EventPlan`: what a query selects of the events of a page, planned once for all events and all requests.

A plan says what to read from the store, and makes the lists `nodes` and `edges` from the rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    assert_object_type,
    get_named_type,
)

from functions.graphql.context import Info
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path
from functions.graphql.query.store import (
    EVENT,
    FIRST_PATH,
    ID,
    NAMESPACE_PATH,
    PROJECT_ID,
    TIMESTAMP,
    USER_ID,
    USERNAME,
    RequestedFields,
)
from functions.graphql.types import arguments, event_columns
from functions.graphql.types.event_columns import Read, always, mapped, objects, stored
from functions.graphql.types.event_list import EventList, EventReader, UsernamePlace
from functions.graphql.types.payload_columns import is_scalar
from functions.graphql.types.payload_fields import typed_value
from functions.graphql.types.selected_fields import TYPENAME, SelectedField, selected_fields
from functions.graphql.types.user_fields import web_path, web_url
from functions.shared.catalog.name_rules import EVENT_FIELDS, KEYS_WITHOUT_FIELD
from functions.shared.catalog.names import camel_case, enum_value
from functions.shared.catalog.payload_type import PayloadType
from functions.shared.catalog.registry import Registry

MAX_PAYLOAD_PATHS = 50  # paths of one field `payload`
MAX_PAGE_STEPS = 500  # steps of all paths of a page

type Convert = Callable[[Any], Any]

_COLUMNS: dict[str, Read] = {
    "id": stored(ID),
    "nodeId": event_columns.node_ids,
    "timestamp": stored(TIMESTAMP),
    "namespacePath": stored(NAMESPACE_PATH),
    "projectId": stored(PROJECT_ID),
}
LAST_DAY = -1
"""Index of the column with the day of the user's last event, which follows what the store answers."""

_USER_FIELDS: Mapping[str, Read] = {
    TYPENAME: always("User"),
    "id": mapped(USER_ID, str),
    "nodeId": mapped(USER_ID, event_columns.user_node_id),
    "username": stored(USERNAME),
    "name": always(None),
    "avatarUrl": always(None),
    "webPath": mapped(USERNAME, web_path),
    "lastDuoActivityOn": stored(LAST_DAY),
}
_OF_USERNAMES = frozenset({"username", "webPath", "webUrl"})


class EventPlan(NamedTuple):
    """What to read of each event, and the lists to make.

    Attributes:
        lists: by their name in the answer.
        reads_last_days: whether rows need a further column, `LAST_DAY`, with the day of the user's last event.
    """

    requested: RequestedFields
    lists: Mapping[str, EventList]
    reads_last_days: bool


class EventTypes:
    """The event types of the schema.

    Attributes:
        names: names of events in the schema, by event id.
        type_names: names of event types in the schema, by event id.
        keys: payload keys by the name of their field, by name of the event type.
        payloads: types of the payload keys, by name of the event type.
    """

    def __init__(self, registry: Registry) -> None:
        self.names = {event.id: enum_value(event.name) for event in registry.events.values()}
        self.type_names = {event.id: event.feature.type_name for event in registry.events.values()}
        self.keys = {
            feature.type_name: {camel_case(key): key for key in feature.payload_types if key not in KEYS_WITHOUT_FIELD}
            for feature in registry.features.values()
        }
        self.payloads = {feature.type_name: feature.payload_types for feature in registry.features.values()}


def plan_events(info: Info, types: EventTypes) -> EventPlan:
    """Plans what the query selects of the connection of events that is being resolved.

    Raises:
        InvalidArgument: a path is invalid, or there are too many.
        GraphQLError: an argument is invalid.
    """
    planner = _Planner(info, types)
    connection = assert_object_type(get_named_type(info.return_type))
    lists = {
        selected.key: planner.event_list(connection, selected)
        for selected in selected_fields(info, connection, info.field_nodes)
        if selected.name in ("nodes", "edges")
    }
    return EventPlan(planner.requested(), lists, planner.reads_last_days)


class _Planner:
    """Plans the lists of one connection."""

    def __init__(self, info: Info, types: EventTypes) -> None:
        self._info = info
        self._types = types
        self._usernames: list[UsernamePlace] = []  # of the reader being made
        self._shape: list[object] = []  # equal for readers of the same fields
        self._columns = _COLUMNS | {"event": mapped(EVENT, types.names.__getitem__)}
        self.reads_last_days = False
        self._reads_usernames = False
        self._reads_payload = False
        self._keys: dict[str, int] = {}
        self._paths: dict[Path, int] = {}
        self._asked_paths: set[Path] = set()  # without those of typed fields

    def requested(self) -> RequestedFields:
        """What the lists need of each event.

        Raises:
            InvalidArgument: the paths have too many steps.
        """
        check_steps(self._asked_paths)
        return RequestedFields(self._reads_usernames, self._reads_payload, tuple(self._keys), tuple(self._paths))

    def event_list(self, connection: GraphQLObjectType, selected: SelectedField) -> EventList:
        """The list that a field of the connection selects: `nodes` or `edges`."""
        edge = _object_type(connection.fields["edges"])
        node = get_named_type(edge.fields["node"].type)
        is_interface = isinstance(node, GraphQLInterfaceType)
        readers: dict[object, EventReader] = {}
        by_type: dict[str, EventReader] = {}
        for event_type in self._info.schema.get_possible_types(node) if is_interface else [node]:
            self._usernames, self._shape = [], []
            if selected.name == "edges":
                read = self._edge(edge, event_type, selected.nodes)
            else:
                read = self._event(event_type, selected.nodes, ())
            payload = self._types.payloads[event_type.name]
            reader = EventReader(read, self._usernames, self._keys, payload)
            by_type[event_type.name] = readers.setdefault(tuple(self._shape), reader)
        return EventList({event: by_type[name] for event, name in self._types.type_names.items() if name in by_type})

    def _edge(self, edge: GraphQLObjectType, event_type: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Read:
        reads: dict[str, Callable[[SelectedField], Read]] = {
            TYPENAME: lambda _: always(edge.name),
            "cursor": lambda _: event_columns.cursors,
            "node": lambda field: self._event(event_type, field.nodes, (field.key,)),
        }
        fields = selected_fields(self._info, edge, nodes)
        return objects([(field.key, reads[field.name](field)) for field in fields])

    def _event(self, event_type: GraphQLObjectType, nodes: Sequence[FieldNode], within: tuple[str, ...]) -> Read:
        """Reads the fields of an event that these places select.

        Args:
            within: names in the answer from the item of the list down to the event.
        """
        fields = selected_fields(self._info, event_type, nodes)
        self._shape += ((field.key, *map(id, field.nodes)) for field in fields)
        if not EVENT_FIELDS.issuperset(field.name for field in fields):
            self._shape.append(event_type.name)
        return objects([(field.key, self._event_field(event_type, field, within)) for field in fields])

    def _event_field(self, event_type: GraphQLObjectType, field: SelectedField, within: tuple[str, ...]) -> Read:
        match field.name:
            case "__typename":
                return always(event_type.name)
            case "user":
                return self._user(_object_type(event_type.fields["user"]), field, within)
            case "payload" | "extras":
                return self._payload(field.arguments.get("paths"))
            case name if name in self._columns:
                return self._columns[name]
        key = self._types.keys[event_type.name][field.name]
        key_type = self._types.payloads[event_type.name][key]
        if is_scalar(key_type):
            self._keys.setdefault(key, len(self._keys))
            return event_columns.scalar(key)
        convert = self._converter(event_type.fields[field.name], key_type, field.nodes)
        return event_columns.nested(self._path((key,)), convert)

    def _user(self, user: GraphQLObjectType, field: SelectedField, within: tuple[str, ...]) -> Read:
        fields = selected_fields(self._info, user, field.nodes)
        for selected in fields:
            self.reads_last_days |= selected.name == "lastDuoActivityOn"
            if selected.name in _OF_USERNAMES:
                self._reads_usernames = True
                self._usernames.append(UsernamePlace((*within, field.key, selected.key), selected.nodes))
        base_url = self._info.context.web_base_url  # the same for all queries
        reads = {**_USER_FIELDS, "webUrl": mapped(USERNAME, lambda username: web_url(username, base_url))}
        return objects([(selected.key, reads[selected.name]) for selected in fields])

    def _payload(self, texts: Sequence[str] | None) -> Read:
        if texts is None:
            self._reads_payload = True
            return event_columns.payloads
        paths = payload_paths(tuple(texts))
        self._asked_paths.update(paths)
        return event_columns.reduced_payloads(paths, [self._path(path) for path in paths])

    def _path(self, path: Path) -> int:
        """The index of the column of a path."""
        return FIRST_PATH + self._paths.setdefault(path, len(self._paths))

    def _converter(self, field: GraphQLField, key_type: PayloadType, nodes: Sequence[FieldNode]) -> Convert:
        """Returns what converts a value of a payload to the value in the answer."""
        if isinstance(key_type, list):
            item = self._converter(field, key_type[0], nodes)
            return lambda value: [item(each) for each in value] if isinstance(value, list) else None
        if not isinstance(key_type, dict):
            return lambda value: typed_value(value, key_type)
        nested, keys = _object_type(field), {camel_case(key): key for key in key_type}
        fields = selected_fields(self._info, nested, nodes)
        converters = [
            (one.key, keys[one.name], self._converter(nested.fields[one.name], key_type[keys[one.name]], one.nodes))
            if one.name != TYPENAME
            else (one.key, None, lambda _: nested.name)
            for one in fields
        ]
        return lambda value: (
            {name: convert(value.get(key)) for name, key, convert in converters} if isinstance(value, dict) else None
        )


@lru_cache
def payload_paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    """The paths of one field `payload`.

    Raises:
        InvalidArgument: a text is not a path, or there are more than `MAX_PAYLOAD_PATHS`.
    """
    return arguments.paths("payload", texts, MAX_PAYLOAD_PATHS)


def check_steps(paths: Iterable[Path]) -> None:
    """Checks that the paths of all fields `payload` of a page have at most `MAX_PAGE_STEPS` steps.

    Raises:
        InvalidArgument: they have more.
    """
    steps = sum(map(len, paths))
    if steps > MAX_PAGE_STEPS:
        raise InvalidArgument(f"The payload paths of a page have at most {MAX_PAGE_STEPS} steps in all, not {steps:,}.")


def _object_type(field: GraphQLField) -> GraphQLObjectType:
    return assert_object_type(get_named_type(field.type))
