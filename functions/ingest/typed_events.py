"""The typed pass: makes the payloads of events that need no Python, while PostgreSQL works on the rows before.

Why it is fast: one call into msgspec decodes a slice of events. Each becomes an object of the class made for its event
type, with just the context keys that the payload takes (`source`). No dict of the event is built, no key is hashed in
Python, and another call encodes the payload while the object is in the processor's cache. No code of a definition runs.

An event goes the general way, `transform`, which knows every rule and every message, so that the typed pass has none of
its own, if

- the definition has functions or a prefetch, or takes a key from base attributes, or one of a type other than text,
  number and boolean; such a definition has no class, because unknown keys are dropped here;
- a value has another type (a number as text, say), or must be looked at: a bad character, a number beyond 64 bits, deep
  nesting;
- the event has such keys beside and within `additional_properties`, lacks a required key, or has a large payload.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, Union

import msgspec

from functions.ingest.event.attributes import BASE_KEYS, are_plain, array_of, decoded_at_once, longest_of
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.payload import MAX_PAYLOAD_BYTES, MIN_INTEGER, Payload
from functions.shared.catalog.payload_type import payload_type
from functions.shared.catalog.registry import Registry
from functions.shared.catalog.source import Source

_MAX_EXACT_FLOAT = 2**53
_BACKSLASH = b"\\"
_TYPES: Mapping[Any, Any] = {
    str: str,
    bool: bool,
    int: Annotated[int, msgspec.Meta(ge=MIN_INTEGER, le=2**63 - 1)],
    float: Annotated[float, msgspec.Meta(ge=-_MAX_EXACT_FLOAT, le=_MAX_EXACT_FLOAT)],
}
_PROJECT = Source(("project_id",))  # as a base attribute it may have several forms; events know its value

type _Getter = Callable[[Any], tuple[Any, ...]]
type _Tree = dict[str, "_Tree | Any"]
"""Keys of an object: the type of a value, or the keys of an object below."""


type TypedPayload = tuple[bytes, int | None]
"""JSON of a payload, and the value of its key `project_id`. A plain tuple is made in a third of a named one's time."""


class TypedEvents:
    """Makes payloads of events of a registry's definitions.

    Attributes:
        names: names of the events whose payloads may be made here.
    """

    def __init__(self, registry: Registry) -> None:
        plans: dict[tuple[str, bool], _Plan | None] = {}
        found = {}
        for name, event_type in registry.events.items():
            kind = (event_type.feature.name, event_type.payload_class is None)
            if kind not in plans:
                plans[kind] = _plan(event_type.feature, event_type.payload_class)
            if plan := plans[kind]:
                found[name] = plan
        self.names = found.keys()
        event: Any = Union[tuple(_variant(name, plan) for name, plan in found.items())] if found else None  # noqa: UP007
        self._decoder = msgspec.json.Decoder(event)
        self._list_decoder = msgspec.json.Decoder(list[event])

    def payloads(self, events: Sequence[tuple[msgspec.Raw, int | None]]) -> Iterator[TypedPayload | None]:
        """Yields the payload of each event; None if the payload must be made the general way.

        Args:
            events: events whose names are in `names` and whose base attributes are valid, each with its project's id.
        """
        for decoded, (_, project_id) in zip(self._decoded([raw for raw, _ in events]), events, strict=True):
            yield None if decoded is None else decoded.plan.payload(decoded, project_id)

    def _decoded(self, events: Sequence[msgspec.Raw]) -> Sequence[Any]:
        array = array_of(events)
        plain = are_plain(events, array, longest_of(events))
        together = decoded_at_once(self._list_decoder, array, len(events)) if plain else None
        if together is not None:
            return together
        return [self._decoded_alone(raw) for raw in events]

    def _decoded_alone(self, raw: msgspec.Raw) -> Any:
        if not are_plain([raw], bytes(raw), len(raw)):
            return None
        try:
            return self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class _Member(NamedTuple):
    """A field of a class: name, key in JSON, type and default."""

    name: str
    key: str
    type: Any
    default: Any


class _Plan(NamedTuple):
    """How the payload of a feature's events is taken from typed events.

    Attributes:
        shape: fields for the context keys that the payload takes.
        additional: class of the additional properties, with these keys.
        roots: gets what an event has of the first keys.
        no_roots: what an event has without any of them.
        values: gets the values of the payload keys from an event, or from its additional properties.
        payload_class: class of the payload, whose fields are in the order of `values`, with the project last.
        required: places of the required values.
        has_project: whether the payload has the event's project.
        project: place of the key `project_id` in the payload; None without that key.
        is_additional: whether the additional properties are the payload as they are.
    """

    shape: Sequence[_Member]
    additional: type[msgspec.Struct]
    roots: _Getter
    no_roots: tuple[Any, ...]
    values: _Getter
    payload_class: Callable[..., msgspec.Struct]
    required: Sequence[int]
    has_project: bool
    project: int | None
    is_additional: bool

    def payload(self, event: Any, project_id: int | None) -> TypedPayload | None:
        """Returns the payload of an event. See `TypedEvents.payloads`."""
        additional = event.additional_properties
        if additional is None:
            values = self.values(event)
        elif self.roots(event) != self.no_roots:
            return None
        elif self.is_additional:
            return _stored(additional, None)
        else:
            values = self.values(additional)
            if self.has_project and project_id is None:
                project_id = additional.key_project_id
        if self.has_project:
            values = (*values, project_id)
        for place in self.required:
            if values[place] is None:
                return None
        return _stored(self.payload_class(*values), None if self.project is None else values[self.project])


def _stored(payload: msgspec.Struct, project_id: int | None) -> TypedPayload | None:
    """Returns the payload as it is stored; None if it is large or has characters that must be looked at."""
    try:
        encoded = msgspec.json.encode(payload)
    except UnicodeEncodeError:
        return None
    if len(encoded) > MAX_PAYLOAD_BYTES or (_BACKSLASH in encoded and rb"\u" in encoded):
        return None
    return encoded, project_id


def _plan(feature: Feature, payload_class: type[Payload] | None) -> _Plan | None:
    """Returns the plan of a feature's events with this class; None if their payloads must be made the general way."""
    if feature.transformations or feature.prefetcher is not None or not _is_plain(payload_class):
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(payload_class)} if payload_class else {}
    types = {key: _TYPES.get(_value_type(field)) for key, field in fields.items()}
    sources = payload_class.sources() if payload_class else {}
    paths = {key: source.path for key, source in sources.items() if source != _PROJECT}
    has_project = sources.get("project_id") == _PROJECT
    tree: _Tree = {}
    if None in types.values() or not all(_grow(tree, path, types[key]) for key, path in paths.items()):
        return None
    keys = [*paths, *(["project_id"] if has_project else [])]
    if len(keys) != len(fields):  # a key of another name takes the project
        return None
    shape = _shape(tree)
    project_shape = _shape({"project_id": types["project_id"]}) if has_project else []
    return _Plan(
        shape=shape,
        additional=_struct("Additional", [*shape, *project_shape]),
        roots=_getter([member.name for member in shape]),
        no_roots=tuple(member.default for member in shape),
        values=_getter([".".join(map(_name, path)) for path in paths.values()]),
        payload_class=_struct("TypedPayload", [_Member(_name(key), key, Any, None) for key in keys]),
        required=[place for place, key in enumerate(keys) if fields[key].required],
        has_project=has_project,
        project=keys.index("project_id") if "project_id" in keys else None,
        is_additional=not any(field.required for field in fields.values())
        and "project_id" not in keys
        and all(path == (key,) for key, path in paths.items()),
    )


def _is_plain(payload_class: type[Payload] | None) -> bool:
    """Whether the class has no checks of its own."""
    return payload_class is None or not (
        hasattr(payload_class, "__post_init__") or payload_class.__struct_config__.tag is not None
    )


def _value_type(field: msgspec.structs.FieldInfo) -> Any:
    """Returns the type of a payload key, if it may be a key of `_TYPES`."""
    declared = payload_type(field.type)
    return declared if isinstance(declared, type) else None


def _grow(tree: _Tree, path: Sequence[str], value_type: Any) -> bool:
    """Adds a path of context keys; returns whether the typed pass can read it beside the other paths."""
    if path[0] in BASE_KEYS or not all(key.isidentifier() for key in path):
        return False
    *holders, last = path
    for key in holders:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            return False
    return tree.setdefault(last, value_type) is value_type


def _shape(tree: _Tree) -> list[_Member]:
    """Returns the fields for the keys of an object. An object below is never None: its values are."""
    members = []
    for key, below in tree.items():
        if isinstance(below, dict):
            # Two objects differ though they hold the same, so that an empty one differs from the default.
            below_class = _struct("Holder", _shape(below), frozen=True, eq=False)
            members.append(_Member(_name(key), key, below_class, below_class()))
        else:
            members.append(_Member(_name(key), key, below | None, None))
    return members


def _struct(name: str, members: Iterable[_Member], **options: Any) -> type[msgspec.Struct]:
    members = list(members)
    return msgspec.defstruct(
        name,
        [(member.name, member.type, member.default) for member in members],
        rename={member.name: member.key for member in members},
        omit_defaults=True,
        gc=False,
        **options,
    )


def _variant(name: str, plan: _Plan) -> type[msgspec.Struct]:
    """Returns the class of an event type's events: the keys of its plan, and the plan itself."""
    additional = _Member("additional_properties", "additional_properties", plan.additional | None, None)
    members = [additional, *plan.shape]
    return _struct(name, members, tag_field="event", tag=name, namespace={"plan": plan})


def _name(key: str) -> str:
    """Returns the name of the field for a key. Names of base attributes have no such prefix."""
    return f"key_{key}"


def _getter(names: Sequence[str]) -> _Getter:
    """Returns a function that gets the values of fields; dots lead into objects."""
    if len(names) > 1:
        return attrgetter(*names)
    get = attrgetter(*names) if names else None
    return lambda holder: (get(holder),) if get else ()
