"""An event as it is written: its base attributes, what else it holds, and what is wrong with how it is written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.contract import LooseId, Namespace, Project, User, UserId
from functions.ingest.event.storable import refuse_unstorable
from functions.ingest.formats.json_scan import MAX_OPENINGS, is_plain, may_be_unstorable, may_nest_deep
from functions.shared.rejection import Rejection

_MAX_TEXT_BYTES = 1000  # an index entry of PostgreSQL's has room for it
_CERTAINLY_SHORT = _MAX_TEXT_BYTES // 4  # characters, each of at most four bytes


class AdditionalProperties(msgspec.Struct, gc=False):
    """Of an internal event's own properties only the time counts as a base attribute."""

    timestamp: Any = None


class BaseAttributes(msgspec.Struct, gc=False):
    """The base attributes of an event; any other key is context for the transformations."""

    event: str
    id: UUID | None = None
    timestamp: Any = None  # for `parse_timestamp`
    user: User | None = None
    user_id: UserId | None = None
    namespace: Namespace | None = None
    namespace_id: LooseId | None = None
    namespace_path: str | None = None
    project: Project | None = None
    project_id: LooseId | None = None
    additional_properties: AdditionalProperties | None = None


class _InternalEvent(msgspec.Struct, gc=False):
    """What makes an event an internal one, whatever else it holds."""

    event: str
    additional_properties: dict[str, msgspec.Raw]


class _TimedProperties(AdditionalProperties):
    """As most producers write them."""

    timestamp: datetime | int | float | None = None


class _TimedAttributes(BaseAttributes):
    """As most producers write them: their times need not be looked at a second time."""

    timestamp: datetime | int | float | None = None
    additional_properties: _TimedProperties | None = None


BASE_KEYS = frozenset(BaseAttributes.__struct_encode_fields__)

# The code for what is wrong with an attribute; any other is invalid_<attribute>.
_CODES = {
    "user_id": "invalid_user",
    "namespace_id": "invalid_namespace",
    "namespace_path": "invalid_namespace",
    "project_id": "invalid_project",
    "additional_properties.timestamp": "invalid_timestamp",
}


_decoder = msgspec.json.Decoder(BaseAttributes)
_list_decoder = msgspec.json.Decoder(list[BaseAttributes])
_timed_list_decoder = msgspec.json.Decoder(list[_TimedAttributes])
_internal_event_decoder = msgspec.json.Decoder(_InternalEvent)
_content_decoder = msgspec.json.Decoder(dict[str, Any])
_json_decoder = msgspec.json.Decoder(msgspec.Raw)
_DEEPER = b"[" * 100 + b"%b" + b"]" * 100  # as what is around an event on its way makes it
_content_list_decoder = msgspec.json.Decoder(list[dict[str, Any]])


def attributes_of(events: Sequence[msgspec.Raw]) -> Sequence[BaseAttributes | None]:
    """The base attributes of all the events, read at once; None for each where those of any can't be read."""
    return _attributes(_array(events), len(events))


def _attributes(array: bytes, count: int) -> Sequence[BaseAttributes | None]:
    timed = _decoded_at_once(_timed_list_decoder, array, count)
    if None not in timed:
        return timed
    return _decoded_at_once(_list_decoder, array, count)


def contents_of(events: Sequence[msgspec.Raw]) -> Sequence[dict[str, Any] | None]:
    """All that the events hold, read at once; None for each where that of any can't be read, or perhaps not stored."""
    array = _array(events)
    if may_be_unstorable(array):
        return [None] * len(events)
    return _decoded_at_once(_content_list_decoder, array, len(events))


def attributes_and_plainness(
    events: Sequence[msgspec.Raw], array: bytes | None = None
) -> tuple[Sequence[BaseAttributes | None], bool]:
    """As `attributes_of`, and whether all that the events, each known to be JSON, hold can certainly be stored.

    Args:
        array: the events as the elements of an array, where they are at hand like that.
    """
    array = array or _array(events)
    return _attributes(array, len(events)), _nest_little(events) and is_plain(array)


def _nest_little(events: Sequence[msgspec.Raw]) -> bool:
    longest = max(map(len, events), default=0)
    return longest <= MAX_OPENINGS or not any(may_nest_deep(bytes(raw)) for raw in events)


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


def read_base_attributes(raw: msgspec.Raw) -> BaseAttributes:
    """The base attributes of the event.

    Raises:
        Rejection: it is no JSON object, or one of them is not as it must be.
    """
    return _decoded(_decoder, raw)


def internal_event_name(raw: msgspec.Raw) -> str | None:
    """The name of an internal event, however its base attributes are; None where it is none."""
    try:
        return _internal_event_decoder.decode(raw).event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def content_of(raw: msgspec.Raw) -> dict[str, Any]:
    """All that the event holds.

    Raises:
        Rejection: it is no JSON object, or one of its values can't be stored.
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
            _decoded(_json_decoder, raw)  # that it is no JSON at all is the first thing to say
        raise _rejection(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection("invalid_json", f"The event is not JSON: {error}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error
    return decoded


def text_within(value: str | None, attribute: str, code: str) -> str | None:
    """The text of an attribute; None where it is empty.

    Raises:
        Rejection: it is too long, or can't be stored.
    """
    if not value:
        return None
    if "\0" in value:
        raise Rejection("invalid_text", f"{attribute} contains the character U+0000.")
    if len(value) > _CERTAINLY_SHORT and len(value.encode()) > _MAX_TEXT_BYTES:
        raise Rejection(code, f"{attribute} is longer than {_MAX_TEXT_BYTES} bytes.")
    return value


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
