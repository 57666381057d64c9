"""Decodes an event's base attributes and content, and reports what is wrong with them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.contract import LooseId, Namespace, Project, User
from functions.ingest.event.numeric_id import not_an_id
from functions.ingest.event.storable import refuse_unstorable
from functions.ingest.formats.json_error import reason
from functions.ingest.formats.json_scan import MAX_OPENINGS, is_plain, may_be_unstorable, may_nest_deep
from functions.shared.rejection import Rejection
from functions.shared.timestamp import may_round_up

_MAX_TEXT_BYTES = 1000  # fits into an index entry of PostgreSQL
CERTAINLY_SHORT = _MAX_TEXT_BYTES // 4  # characters; a character has at most four bytes


class AdditionalProperties(msgspec.Struct, gc=False):
    """The additional properties of an internal event; only `timestamp` is a base attribute."""

    timestamp: Any = None


class BaseAttributes(msgspec.Struct, gc=False):
    """The base attributes of an event. Transformations see every other key as context."""

    event: str
    id: UUID | None = None
    timestamp: Any = None  # see `parse_timestamp`
    user: User | None = None
    user_id: LooseId | None = None
    namespace: Namespace | None = None
    namespace_id: LooseId | None = None
    namespace_path: str | None = None
    project: Project | None = None
    project_id: LooseId | None = None
    project_path: str | None = None
    additional_properties: AdditionalProperties | None = None


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; its keys take no memory."""


class _InternalEvent(msgspec.Struct, gc=False):
    """The keys that make an event an internal event, whatever the other keys hold."""

    event: str
    additional_properties: _Object


class _ScalarProperties(AdditionalProperties, gc=False):
    """Additional properties whose timestamp takes little memory, however many events are decoded."""

    timestamp: str | int | float | None = None


class _ScalarAttributes(BaseAttributes, gc=False):
    """Base attributes whose timestamps take little memory, however many events are decoded."""

    timestamp: str | int | float | None = None
    additional_properties: _ScalarProperties | None = None


class _TimedProperties(AdditionalProperties, gc=False):
    """The usual types of additional properties."""

    timestamp: datetime | int | float | None = None


class _TimedAttributes(BaseAttributes, gc=False):
    """The usual types of base attributes: msgspec decodes the timestamps, so no second pass is needed."""

    timestamp: datetime | int | float | None = None
    additional_properties: _TimedProperties | None = None


BASE_KEYS = frozenset(BaseAttributes.__struct_encode_fields__)

# Rejection codes of attributes; every other attribute has invalid_<attribute>.
_CODES = {
    "user_id": "invalid_user",
    "namespace_id": "invalid_namespace",
    "namespace_path": "invalid_namespace",
    "project_id": "invalid_project",
    "project_path": "invalid_project",
    "additional_properties.timestamp": "invalid_timestamp",
}
_NUMERIC_IDS = frozenset(
    {"user_id", "user.id", "namespace_id", "namespace.id", "project_id", "project.id", "project.namespace.id"}
)


_decoder = msgspec.json.Decoder(BaseAttributes)
_list_decoder = msgspec.json.Decoder(list[_ScalarAttributes])
_timed_list_decoder = msgspec.json.Decoder(list[_TimedAttributes])
_internal_event_decoder = msgspec.json.Decoder(_InternalEvent)
_content_decoder = msgspec.json.Decoder(dict[str, Any])
_json_decoder = msgspec.json.Decoder(msgspec.Raw)
_DEEPER = b"[" * 100 + b"%b" + b"]" * 100  # as deep as the wrapping that an event gets on its way
_content_list_decoder = msgspec.json.Decoder(list[dict[str, Any]])


def attributes_of(events: Sequence[msgspec.Raw]) -> Sequence[BaseAttributes | None]:
    """Decodes the base attributes of all events at once; returns None for every event if any event can't be decoded."""
    return attributes_in(array_of(events), len(events)) or [None] * len(events)


def attributes_in(array: bytes, count: int) -> Sequence[BaseAttributes] | None:
    """Decodes the base attributes of the events in a JSON array; returns None if any event can't be decoded.

    Args:
        count: number of the events.
    """
    if not may_round_up(array):
        timed = decoded_at_once(_timed_list_decoder, array, count)
        if timed is not None:
            return timed
    return decoded_at_once(_list_decoder, array, count)


def contents_of(events: Sequence[msgspec.Raw]) -> Sequence[dict[str, Any] | None]:
    """Decodes all events at once; returns None for every event if any can't be decoded or may be unstorable."""
    array = array_of(events)
    may_be_stored = not may_be_unstorable(array)
    contents = decoded_at_once(_content_list_decoder, array, len(events)) if may_be_stored else None
    return [None] * len(events) if contents is None else contents


def are_plain(events: Sequence[msgspec.Raw], array: bytes, longest: int) -> bool:
    """Whether all content of the events, which are valid JSON, can certainly be stored.

    Args:
        array: the events as a JSON array.
        longest: bytes of the longest event.
    """
    nest_little = longest <= MAX_OPENINGS or not any(may_nest_deep(bytes(raw)) for raw in events)
    return nest_little and is_plain(array)


def longest_of(events: Sequence[msgspec.Raw]) -> int:
    """Returns the bytes of the longest event; 0 without events."""
    return max(map(len, events), default=0)


def array_of(events: Sequence[msgspec.Raw]) -> bytes:
    """Returns the events as a JSON array."""
    return b"[%b]" % b",".join(events)


def decoded_at_once[Decoded](
    decoder: msgspec.json.Decoder[list[Decoded]], array: bytes, count: int
) -> list[Decoded] | None:
    """Returns the events in a JSON array; None if the decoder refuses any of them."""
    try:
        decoded = decoder.decode(array)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Texts that are not JSON by themselves may form valid JSON when joined.
    return decoded if len(decoded) == count else None


def read_base_attributes(raw: msgspec.Raw) -> BaseAttributes:
    """Returns the base attributes of the event.

    Raises:
        Rejection: the event is not a JSON object, or a base attribute is malformed.
    """
    return _decoded(_decoder, raw)


def internal_event_name(raw: msgspec.Raw) -> str | None:
    """Returns the name of an internal event, even if its base attributes are malformed; None for any other event."""
    try:
        return _internal_event_decoder.decode(raw).event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def content_of(raw: msgspec.Raw) -> dict[str, Any]:
    """Returns the whole content of the event.

    Raises:
        Rejection: the event is not a JSON object, or contains a value that can't be stored.
    """
    return _decoded(_content_decoder, raw, _refuse_unstorable)


def _refuse_unstorable(raw: msgspec.Raw, content: dict[str, Any]) -> None:
    text = bytes(raw)
    if may_nest_deep(text):
        _json_decoder.decode(_DEEPER % text)
    refuse_unstorable(raw, content)


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
            _decoded(_json_decoder, raw)  # report malformed JSON before a malformed attribute
        raise _rejection(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection("invalid_json", f"The event is not JSON: {reason(error, bytes(raw))}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error
    return decoded


def text_within(value: str | None, attribute: str, code: str) -> str | None:
    """Returns the text of an attribute; None if it is empty.

    Raises:
        Rejection: the text is too long or can't be stored.
    """
    if not value:
        return None
    if "\0" in value:
        raise Rejection("invalid_text", f"{attribute} contains the character U+0000.")
    if len(value) > CERTAINLY_SHORT and len(value.encode()) > _MAX_TEXT_BYTES:
        raise Rejection(code, f"{attribute} is longer than {_MAX_TEXT_BYTES} bytes.")
    return value


def _rejection(error: msgspec.ValidationError) -> Rejection:
    """Returns a rejection for an error like `Expected `int`, got `str` - at `$.user.id``."""
    message, _, path = reason(error).partition(" - at `$")
    attribute = path.rstrip("`").lstrip(".")
    if message.endswith("out of range"):
        return Rejection("number_out_of_range", "A number fits neither in 64 bits nor in a double.")
    if not attribute and message.startswith("Expected an object"):
        return Rejection("not_an_object", "An event must be a JSON object.")
    base = attribute.partition(".")[0]
    if base not in BASE_KEYS:
        return Rejection("invalid_event", f"{message}.")
    code = _CODES.get(attribute) or _CODES.get(base) or f"invalid_{base}"
    if attribute in _NUMERIC_IDS:
        return not_an_id(attribute, code)
    return Rejection(code, f"{attribute}: {message}.")
