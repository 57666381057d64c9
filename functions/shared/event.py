"""An event on the wire: its base attributes, and whether it may be taken in."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import msgspec

from functions.shared.batch import Batch
from functions.shared.context import Context
from functions.shared.grant import is_traversal_path
from functions.shared.identifier import time_of
from functions.shared.payload import converter, refuse_unstorable
from functions.shared.registry import EventType, Registry
from functions.shared.rejection import Rejection
from functions.shared.timestamp import months_before, parse_timestamp

MAX_EVENT_BYTES = 64 * 1024
_LONGEST_TEXT_BYTES = 1000  # an index entry of PostgreSQL's has room for it
_LARGEST_ID = 2**63 - 1
_FURTHEST_AHEAD = timedelta(days=1)
_NOT_A_PATH = "A namespace's path must be ids, each followed by a slash, like 27/28/."

type UserId = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_ID)]
type LooseId = int | float | str
type LooseTime = str | int | float


class User(msgspec.Struct):
    """The user as an event names it."""

    id: UserId
    username: str | None = None


class Namespace(msgspec.Struct):
    """A namespace as an event names it: `path` is the traversal path, whose last id is its own."""

    path: str | None = None
    full_path: str | None = None
    id: LooseId | None = None


class Project(msgspec.Struct):
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


class Event(msgspec.Struct):
    """An event that may be taken in.

    Attributes:
        has_own_id: whether the producer gave the id.
        has_own_time: whether the producer gave the time; else it is the id's, or that of arrival.
        namespace: the namespace that the event names for itself.
        project_namespace: the one that it names for its project.
    """

    type: EventType
    id: UUID
    timestamp: datetime
    has_own_id: bool
    has_own_time: bool
    user_id: int
    username: str | None
    namespace: Place
    project_id: int | None
    project_full_path: str | None
    project_namespace: Place
    content: dict[str, Any]

    @property
    def explicit_path(self) -> str | None:
        """The namespace's path, where the event itself gives it."""
        return self.namespace.path or self.project_namespace.path

    def context(self) -> Context:
        """What the transformations see: see `Context`."""
        context = Context(self.content)
        additional = context.get("additional_properties")
        if additional:
            for key, value in additional.items():
                if context.get(key) is None and (key not in BASE_KEYS or key == "timestamp"):
                    context[key] = value
        context["user_id"] = self.user_id
        if self.project_id is not None:
            context["project_id"] = self.project_id
        if self.namespace.id is not None:
            context["namespace_id"] = self.namespace.id
        return context


_decoder = msgspec.json.Decoder(Attributes)
_content_decoder = msgspec.json.Decoder(dict[str, Any])
_integer = converter(int)


def read_event(
    raw: msgspec.Raw, position: int, batch: Batch, registry: Registry, retention_months: int
) -> Event | None:
    """The event that `raw` is, at `position` of the batch; None for an internal event that no definition names.

    Raises:
        Rejection: it can't be stored, or its sender may not send it.
    """
    attributes, content = _decoded(raw)
    event_type = registry.events.get(attributes.event)
    if event_type is None:
        if attributes.additional_properties is not None:
            return None
        raise Rejection("unknown_event", f"No definition names the event {attributes.event[:100]!r}.")
    if event_type.deprecated:
        raise Rejection("deprecated_event", f"The event {event_type.name} is no longer accepted.")
    event_id = attributes.id or batch.event_id(position)
    own_time = _own_time(attributes)
    timestamp = own_time or (attributes.id and time_of(attributes.id)) or batch.received_at
    require_storable_time(timestamp, batch.received_at, retention_months)
    project = attributes.project
    event = Event(
        type=event_type,
        id=event_id,
        timestamp=timestamp,
        has_own_id=attributes.id is not None,
        has_own_time=own_time is not None,
        user_id=_user_id(attributes, batch.sender.sub),
        username=_text_within(attributes.user.username if attributes.user else None, "user.username", "invalid_user"),
        namespace=_namespace(attributes),
        project_id=_project_id(attributes),
        project_full_path=_full_path(project.full_path if project else None, "project.full_path", "invalid_project"),
        project_namespace=_place(project.namespace if project else None, "project.namespace", "invalid_project"),
        content=content,
    )
    batch.sender.require_writable(event.user_id, event.explicit_path)
    return event


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


def _decoded(raw: msgspec.Raw) -> tuple[Attributes, dict[str, Any]]:
    if len(raw) > MAX_EVENT_BYTES:
        raise Rejection("too_large", f"The event has {len(raw)} bytes; at most {MAX_EVENT_BYTES} are allowed.")
    try:
        attributes = _decoder.decode(raw)
        content = _content_decoder.decode(raw)
        refuse_unstorable(raw, content)
    except msgspec.ValidationError as error:
        raise _rejection(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection("invalid_json", f"The event is not JSON: {error}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error
    return attributes, content


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


def _namespace(attributes: Attributes) -> Place:
    place = _place(attributes.namespace, "namespace", "invalid_namespace")
    path = attributes.namespace_path
    if path is not None:
        if place.path not in (None, require_namespace_path(path)):
            raise Rejection("invalid_namespace", "namespace.path and namespace_path name two namespaces.")
        place = msgspec.structs.replace(place, path=path, id=place.id or namespace_id_of(path))
    if attributes.namespace_id is not None:
        namespace_id = _identifier(attributes.namespace_id, "namespace_id", "invalid_namespace")
        place = msgspec.structs.replace(place, id=place.id or namespace_id)
        if place.id != namespace_id:
            raise Rejection("invalid_namespace", "namespace_id is not the namespace's id.")
    if place.path is not None and place.id != namespace_id_of(place.path):
        raise Rejection("invalid_namespace", "The namespace's id is not the last of its path.")
    return place


_NOWHERE = Place()


def _place(namespace: Namespace | None, attribute: str, code: str) -> Place:
    if namespace is None:
        return _NOWHERE
    path = namespace.path
    namespace_id = _identifier(namespace.id, f"{attribute}.id", code)
    if path is not None:
        namespace_id = namespace_id or namespace_id_of(path)
        if namespace_id != namespace_id_of(path):
            raise Rejection(code, f"{attribute}.id is not the last id of {attribute}.path.")
    return Place(namespace_id, path, _full_path(namespace.full_path, f"{attribute}.full_path", code))


def _project_id(attributes: Attributes) -> int | None:
    project_id = _identifier(attributes.project_id, "project_id", "invalid_project")
    if attributes.project is None:
        return project_id
    own_id = _identifier(attributes.project.id, "project.id", "invalid_project")
    if project_id not in (None, own_id):
        raise Rejection("invalid_project", "project.id and project_id name two projects.")
    return own_id


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
    if value and len(value.encode()) > _LONGEST_TEXT_BYTES:
        raise Rejection(code, f"{attribute} is longer than {_LONGEST_TEXT_BYTES} bytes.")
    return value or None
