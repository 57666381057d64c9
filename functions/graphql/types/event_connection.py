"""The connections of events: what they are read with, and what is on a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from graphql import GraphQLInterfaceType

from functions.graphql.context import Info, Scope, User, Users
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path, only_these
from functions.graphql.query.store import Position, StoredEvent, Wanted, Window
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.connection import Connection
from functions.graphql.types.cursor import from_cursor, to_cursor
from functions.graphql.types.lookahead import Selected

MOST_PAYLOAD_PATHS = 50  # of one `payload`
MOST_STEPS = 500  # of all paths of a page


@dataclass(frozen=True, slots=True)
class Node:
    """An event on a page.

    Attributes:
        payload: JSON; None where the query does not ask for the whole.
        values: the JSON at each path that the query asks for, None where nothing is there.
    """

    id: UUID
    timestamp: datetime
    event: int
    user: User
    namespace_path: str | None
    payload: msgspec.Raw | None
    values: Mapping[Path, msgspec.Raw | None]

    def value(self, key: str) -> Any:
        """What the payload has at a key that the query asks for; None where it holds a number beyond all doubles."""
        raw = self.values[(key,)]
        try:
            return None if raw is None else msgspec.json.decode(raw)
        except msgspec.ValidationError:
            return None


def event_connection(
    scope: Scope, info: Info, event_ids: Sequence[int], keys: Mapping[str, Sequence[str]], given: Mapping[str, Any]
) -> Connection[Node]:
    """A page of events.

    Args:
        event_ids: the ids of those that the field has.
        keys: the payload keys that each field of an event's type may be of.
        given: the field's arguments.

    Raises:
        InvalidArgument: one is not usable.
    """
    reading = info.context
    selection = select(scope.namespaces, reading.registry, reading.today, given)
    selection = msgspec.structs.replace(
        selection, event_ids=tuple(event_id for event_id in selection.event_ids if event_id in event_ids)
    )
    stretch = arguments.stretch(given)
    beyond = stretch.position(from_cursor)
    reading.budget.take(stretch.size)
    wanted = _wanted(info, keys)

    def read(limit: int) -> list[Node]:
        window = Window(limit, beyond, stretch.backwards)
        return _nodes(reading.events.events(selection, window, wanted), wanted, info)

    return Connection(stretch, read, _cursor_of, lambda: reading.events.count(selection))


def resolve_payload(node: Node, _: Info, paths: Sequence[str] | None = None) -> object:
    """The payload, or what it has at the paths."""
    if paths is None:
        return node.payload
    chosen = _paths(tuple(paths))
    return only_these(chosen, [node.values[path] for path in chosen])


def _nodes(events: Sequence[StoredEvent], wanted: Wanted, info: Info) -> list[Node]:
    users = Users((event.user_id for event in events), info.context.directory)
    return [
        Node(
            event.id,
            event.timestamp,
            event.event,
            User(event.user_id, users),
            event.namespace_path,
            event.payload,
            dict(zip(wanted.paths, event.values, strict=True)),
        )
        for event in events
    ]


def _cursor_of(node: Node) -> str:
    return to_cursor(Position(node.timestamp, node.id))


def _wanted(info: Info, keys: Mapping[str, Sequence[str]]) -> Wanted:
    """What the query asks of the payloads on the page."""
    interface = info.schema.type_map["AiUsageEvent"]
    if not isinstance(interface, GraphQLInterfaceType):
        raise TypeError("AiUsageEvent is an interface")
    connection = Selected.of(info)
    whole = False
    paths: dict[Path, None] = {}
    names: set[str] = set()
    for nodes in (connection.below("nodes"), connection.below("edges").below("node")):
        for given in nodes.below("payload").arguments(interface):
            if given.get("paths") is None:
                whole = True
            else:
                paths |= dict.fromkeys(_paths(tuple(given["paths"])))
        names.update(nodes.names())
    steps = sum(map(len, paths))
    if steps > MOST_STEPS:
        raise InvalidArgument(f"A page takes paths into payloads of at most {MOST_STEPS} steps in all, not {steps:,}.")
    paths |= {(key,): None for name in names for key in keys.get(name, ())}
    return Wanted(whole, tuple(paths))


@lru_cache
def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    return arguments.paths("payload", texts, MOST_PAYLOAD_PATHS)
