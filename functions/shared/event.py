"""An event on the wire: its base attributes, and whether it may be taken in."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import msgspec

from functions.shared.batch import Batch
from functions.shared.context import Context
from functions.shared.grant import is_traversal_path
from functions.shared.identifier import time_of
from functions.shared.payload import converter, may_be_unstorable, refuse_unstorable
from functions.shared.registry import EventType, Registry
from functions.shared.rejection import Rejection
from functions.shared.timestamp import months_before, parse_timestamp

MAX_EVENT_BYTES = 64 * 1024
_LONGEST_TEXT_BYTES = 1000  # an index entry of PostgreSQL's has room for it
_LONGEST_CHARACTER_BYTES = 4
_LARGEST_ID = 2**63 - 1
_FURTHEST_AHEAD = timedelta(days=1)
_KNOWN_PLACES = 8192  # many events have few namespaces and projects
_NOT_A_PATH = "A namespace's path must be ids, each followed by a slash, like 27/28/."

type UserId = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_ID)]
type LooseId = int | float | str
type LooseTime = str | int | float


class User(msgspec.Struct, frozen=True):
    """The user as an event names it."""

    id: UserId
    username: str | None = None


class Namespace(msgspec.Struct, frozen=True):
    """A namespace as an event names it: `path` is the traversal path, whose last id is its own."""

    path: str | None = None
    full_path: str | None = None
    id: LooseId | None = None


class Project(msgspec.Struct, frozen=True):
    """A project as an event names it."""

    id: LooseId
    full_path: str | None = None
    namespace: Namespace | None = None


class AdditionalProperties(msgspec.Struct):
    """Of an internal event's own properties only the time counts as a base attribute."""

    timestamp: LooseTime | None = None


class Attributes(msgspec.Struct):
    """The base attributes of an event; any other key is context for the transformations."""

    event: str
    id: UUID | None = None
    timestamp: LooseTime | None = None
    user: User | None = None
    user_id: UserId | None = None
    namespace: Namespace | None = None
    namespace_id: LooseId | None = None
    namespace_path: str | None = None
    project: Project | None = None
    project_id: LooseId | None = None
    additional_properties: AdditionalProperties | None = None


BASE_KEYS = frozenset(Attributes.__struct_encode_fields__)

# The code for what is wrong with an attribute; any other is invalid_<attribute>.
_CODES = {
    "user_id": "invalid_user",
    "namespace_id": "invalid_namespace",
    "namespace_path": "invalid_namespace",
    "project_id": "invalid_project",
    "additional_properties.timestamp": "invalid_timestamp",
}


class Place(msgspec.Struct, frozen=True):
    """A namespace, as far as an event names it.

    Attributes:
        id: of the namespace.
        path: traversal path, `27/28/`.
        full_path: as people write it, `gitlab-org/gitlab`.
    """

    id: int | None = None
    path: str | None = None
    full_path: str | None = None


NOWHERE = Place()


class StatedProject(msgspec.Struct, frozen=True):
    """A project, as far as an event names it.

    Attributes:
        namespace: the one that the event names for the project.
    """

    id: int | None = None
    full_path: str | None = None
    namespace: Place = NOWHERE


class Event(msgspec.Struct):
    """An event that may be taken in.

    Attributes:
        raw: the event as it came.
        time_is_assigned: whether the event has an id of its own, but its time from that or from its arrival.
        namespace: the namespace that the event names for itself.
        explicit_path: the namespace's path, where the event itself gives it.
    """

    raw: msgspec.Raw
    type: EventType
    id: UUID
    timestamp: datetime
    time_is_assigned: bool
    user_id: int
    username: str | None
    namespace: Place
    project: StatedProject
    explicit_path: str | None

    def context(self, content: dict[str, Any] | None = None) -> Context:
        """What the transformations see: see `Context`.

        Args:
            content: what the event holds, where it is read already.

        Raises:
            Rejection: what the event holds besides its base attributes can't be stored.
        """
        if content is None:
            content = _content(self.raw)
        context = Context(content)
        additional = content.get("additional_properties")
        if additional:
            context.update(additional)
            if len(context) != len(content) + len(additional):
                context = _merged(content, additional)
        context["user_id"] = self.user_id
        if self.project.id is not None:
            context["project_id"] = self.project.id
        if self.namespace.id is not None:
            context["namespace_id"] = self.namespace.id
        return context


_decoder = msgspec.json.Decoder(Attributes)
_list_decoder = msgspec.json.Decoder(list[Attributes])
_content_decoder = msgspec.json.Decoder(dict[str, Any])
_json_decoder = msgspec.json.Decoder(msgspec.Raw)
_content_list_decoder = msgspec.json.Decoder(list[dict[str, Any]])
_integer = converter(int)


def attributes_of(events: Sequence[msgspec.Raw]) -> Sequence[Attributes | None]:
    """The base attributes of all the events, read at once; None for each where those of any can't be read."""
    return _decoded_at_once(_list_decoder, _array(events), len(events))


def contents_of(events: Sequence[msgspec.Raw]) -> Sequence[dict[str, Any] | None]:
    """All that the events hold, read at once; None for each where that of any can't be read, or perhaps not stored."""
    array = _array(events)
    if may_be_unstorable(array):
        return [None] * len(events)
    return _decoded_at_once(_content_list_decoder, array, len(events))


def _array(events: Sequence[msgspec.Raw]) -> bytes:
    return b"[%b]" % b",".join(events)


def _decoded_at_once[Decoded](
    decoder: msgspec.json.Decoder[list[Decoded]], array: bytes, count: int
) -> Sequence[Decoded | None]:
    try:
        decoded = decoder.decode(array)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [None] * count
    # A text that is no JSON by itself may be so among others.
    return decoded if len(decoded) == count else [None] * count


def read_event(
    raw: msgspec.Raw,
    position: int,
    batch: Batch,
    registry: Registry,
    retention_months: int,
    attributes: Attributes | None = None,
    content: dict[str, Any] | None = None,
) -> Event | None:
    """The event that `raw` is, at `position` of the batch; None for an internal event that no definition names.

    Args:
        attributes: what `attributes_of` gives for the event.
        content: what `contents_of` gives for the event.

    Raises:
        Rejection: it can't be stored, or its sender may not send it.
    """
    event = read_attributes(raw, position, batch, registry, retention_months, attributes)
    if event is not None and content is None:
        _content(raw)
    return event


def read_attributes(
    raw: msgspec.Raw,
    position: int,
    batch: Batch,
    registry: Registry,
    retention_months: int,
    attributes: Attributes | None = None,
) -> Event | None:
    """As `read_event`, but what else an accepted event holds is only looked at with its `context`."""
    if len(raw) > MAX_EVENT_BYTES:
        raise Rejection("too_large", f"The event has {len(raw)} bytes; at most {MAX_EVENT_BYTES} are allowed.")
    if attributes is None:
        try:
            attributes = _decoded(_decoder, raw)
        except Rejection:
            if _is_for_others(raw, registry):
                return None
            raise
    try:
        event = _event(attributes, raw, position, batch, registry, retention_months)
    except Rejection:
        _content(raw)  # that the text can't be stored is the first thing to say
        raise
    if event is None:
        _content(raw)
    return event


def _is_for_others(raw: msgspec.Raw, registry: Registry) -> bool:
    """Whether it is an internal event that no definition names: its attributes are as other trackers want them."""
    content = _content(raw)
    name = content.get("event")
    return isinstance(name, str) and name not in registry.events and type(content.get("additional_properties")) is dict


def _event(
    attributes: Attributes, raw: msgspec.Raw, position: int, batch: Batch, registry: Registry, retention_months: int
) -> Event | None:
    event_type = registry.events.get(attributes.event)
    if event_type is None:
        if attributes.additional_properties is not None:
            return None
        raise Rejection("unknown_event", f"No definition names the event {attributes.event[:100]!r}.")
    if event_type.deprecated:
        raise Rejection("deprecated_event", f"The event {event_type.name} is no longer accepted.")
    own_id, own_time = attributes.id, _own_time(attributes)
    timestamp = own_time or (own_id and time_of(own_id)) or batch.received_at
    require_storable_time(timestamp, batch.received_at, retention_months)
    sender = batch.sender
    user_id = _user_id(attributes, sender.sub)
    user = attributes.user
    username = _text_within(user.username, "user.username", "invalid_user") if user else None
    namespace = _namespace(attributes.namespace, attributes.namespace_path, attributes.namespace_id)
    project = _project(attributes.project, attributes.project_id)
    explicit_path = namespace.path or project.namespace.path
    sender.require_writable(user_id, explicit_path)
    return Event(
        raw=raw,
        type=event_type,
        id=own_id or batch.event_id(position),
        timestamp=timestamp,
        time_is_assigned=own_id is not None and own_time is None,
        user_id=user_id,
        username=username,
        namespace=namespace,
        project=project,
        explicit_path=explicit_path,
    )


def require_storable_time(timestamp: datetime, received_at: datetime, retention_months: int) -> None:
    """Lets pass a time that has, and keeps for a while, a partition.

    Raises:
        Rejection: `timestamp_out_of_range`.
    """
    if timestamp < months_before(received_at, retention_months):
        raise Rejection(
            "timestamp_out_of_range", f"The time {timestamp:%Y-%m-%dT%H:%M:%SZ} is over {retention_months} months old."
        )
    if timestamp > received_at + _FURTHEST_AHEAD:
        raise Rejection(
            "timestamp_out_of_range", f"The time {timestamp:%Y-%m-%dT%H:%M:%SZ} is more than a day in the future."
        )


def require_user_id(value: Any) -> int:
    """`value` as a user's id.

    Raises:
        Rejection: `invalid_user`.
    """
    if type(value) is not int or not 1 <= value <= _LARGEST_ID:
        raise Rejection("invalid_user", "The user's id must be a positive 64-bit integer.")
    return value


def require_namespace_path(value: Any) -> str:
    """`value` as a traversal path.

    Raises:
        Rejection: `invalid_namespace`.
    """
    if not isinstance(value, str):
        raise Rejection("invalid_namespace", _NOT_A_PATH)
    namespace_id_of(value)
    return value


@lru_cache(maxsize=4096)  # many events have few namespaces
def namespace_id_of(path: str) -> int:
    """The id of the namespace at a traversal path: its last.

    Raises:
        Rejection: `invalid_namespace`, it is no traversal path.
    """
    if is_traversal_path(path):
        namespace_id = int(path[path.rfind("/", 0, -1) + 1 : -1])
        if namespace_id <= _LARGEST_ID:
            return namespace_id
    raise Rejection("invalid_namespace", _NOT_A_PATH)


def _content(raw: msgspec.Raw) -> dict[str, Any]:
    return _decoded(_content_decoder, raw, refuse_unstorable)


def _decoded[Decoded](
    decoder: msgspec.json.Decoder[Decoded],
    raw: msgspec.Raw,
    check: Callable[[msgspec.Raw, Decoded], None] | None = None,
) -> Decoded:
    try:
        decoded = decoder.decode(raw)
        if check is not None:
            check(raw, decoded)
    except msgspec.ValidationError as error:
        if decoder is not _json_decoder:
            _decoded(_json_decoder, raw)  # that it is no JSON at all is the first thing to say
        raise _rejection(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection("invalid_json", f"The event is not JSON: {error}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error
    return decoded


def _merged(content: dict[str, Any], additional: dict[str, Any]) -> Context:
    """The context of an event that has keys of its own among its additional properties."""
    own = {key: value for key, value in content.items() if value is not None}
    return Context(content | additional | own)


def _rejection(problem: str) -> Rejection:
    """What msgspec says is wrong (`Expected `int`, got `str` - at `$.user.id``) as a rejection."""
    message, _, path = problem.partition(" - at `$")
    attribute = path.rstrip("`").lstrip(".")
    if message.endswith("out of range"):
        return Rejection("number_out_of_range", "A number fits neither in 64 bits nor in a double.")
    if not attribute and message.startswith("Expected `object`"):
        return Rejection("not_an_object", "An event must be a JSON object.")
    base = attribute.partition(".")[0]
    if base not in BASE_KEYS:
        return Rejection("invalid_event", f"{message}.")
    code = _CODES.get(attribute) or _CODES.get(base) or f"invalid_{base}"
    return Rejection(code, f"{attribute}: {message}.")


def _own_time(attributes: Attributes) -> datetime | None:
    value = attributes.timestamp
    if value is None and attributes.additional_properties is not None:
        value = attributes.additional_properties.timestamp
    if value is None:
        return None
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise Rejection("invalid_timestamp", f"timestamp: {error}.") from error


def _user_id(attributes: Attributes, sub: str) -> int:
    if attributes.user is not None:
        if attributes.user_id is not None and attributes.user_id != attributes.user.id:
            raise Rejection("invalid_user", "user.id and user_id name two users.")
        return attributes.user.id
    if attributes.user_id is not None:
        return attributes.user_id
    if not sub:
        raise Rejection("invalid_user", "The event names no user.")
    return require_user_id(int(sub) if sub.isascii() and sub.isdecimal() else None)


@lru_cache(_KNOWN_PLACES)
def _namespace(namespace: Namespace | None, path: str | None, loose_id: LooseId | None) -> Place:
    place = _place(namespace, "namespace", "invalid_namespace")
    if path is not None:
        if place.path not in (None, require_namespace_path(path)):
            raise Rejection("invalid_namespace", "namespace.path and namespace_path name two namespaces.")
        place = msgspec.structs.replace(place, path=path, id=place.id or namespace_id_of(path))
    if loose_id is not None:
        namespace_id = _identifier(loose_id, "namespace_id", "invalid_namespace")
        place = msgspec.structs.replace(place, id=place.id or namespace_id)
        if place.id != namespace_id:
            raise Rejection("invalid_namespace", "namespace_id is not the namespace's id.")
    if place.path is not None and place.id != namespace_id_of(place.path):
        raise Rejection("invalid_namespace", "The namespace's id is not the last of its path.")
    return place


def _place(namespace: Namespace | None, attribute: str, code: str) -> Place:
    if namespace is None:
        return NOWHERE
    path = namespace.path
    namespace_id = _identifier(namespace.id, f"{attribute}.id", code)
    if path is not None:
        namespace_id = namespace_id or namespace_id_of(path)
        if namespace_id != namespace_id_of(path):
            raise Rejection(code, f"{attribute}.id is not the last id of {attribute}.path.")
    return Place(namespace_id, path, _full_path(namespace.full_path, f"{attribute}.full_path", code))


@lru_cache(_KNOWN_PLACES)
def _project(project: Project | None, loose_id: LooseId | None) -> StatedProject:
    project_id = _identifier(loose_id, "project_id", "invalid_project")
    if project is None:
        return StatedProject(project_id)
    own_id = _identifier(project.id, "project.id", "invalid_project")
    if project_id not in (None, own_id):
        raise Rejection("invalid_project", "project.id and project_id name two projects.")
    return StatedProject(
        own_id,
        _full_path(project.full_path, "project.full_path", "invalid_project"),
        _place(project.namespace, "project.namespace", "invalid_project"),
    )


def _identifier(value: LooseId | None, attribute: str, code: str) -> int | None:
    if value is None:
        return None
    try:
        identifier = _integer(value)
    except ValueError as error:
        raise Rejection(code, f"{attribute}: {error}.") from error
    if not 1 <= identifier <= _LARGEST_ID:
        raise Rejection(code, f"{attribute} must be a positive 64-bit integer.")
    return int(identifier)


def _full_path(value: str | None, attribute: str, code: str) -> str | None:
    if value and is_traversal_path(value):
        raise Rejection(code, f"{attribute} can't be a path of ids.")
    return _text_within(value, attribute, code)


def _text_within(value: str | None, attribute: str, code: str) -> str | None:
    if not value:
        return None
    if "\0" in value:
        raise Rejection("invalid_text", f"{attribute} contains the character U+0000.")
    if len(value) > _LONGEST_TEXT_BYTES // _LONGEST_CHARACTER_BYTES and len(value.encode()) > _LONGEST_TEXT_BYTES:
        raise Rejection(code, f"{attribute} is longer than {_LONGEST_TEXT_BYTES} bytes.")
    return value
