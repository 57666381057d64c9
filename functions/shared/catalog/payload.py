"""Payloads: the base class that definitions declare theirs with, and the rules for what may be stored.

PostgreSQL's `jsonb` and ClickHouse's `JSON` do not keep the same things. What either can't keep is refused
or dropped here, before PostgreSQL, so that both hold the same.
"""

import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from functions.ingest.formats.json_scan import may_be_unstorable
from functions.shared.catalog.payload_type import PayloadType, payload_type
from functions.shared.rejection import Rejection, quoted
from functions.shared.timestamp import format_timestamp, parse_timestamp

MAX_PAYLOAD_BYTES = 16 * 1024
MAX_DEPTH = 64
SMALLEST_INTEGER = -(2**63)
LARGEST_INTEGER = 2**64 - 1

_LARGEST_EXACT_FLOAT = 2**53

_SMALLEST_FLOAT_WRITTEN_OUT = 2.0**63
_BACKSLASH = b"\\"  # one byte is found far faster than several
_PLAIN_TYPES: dict[Any, Any] = {
    str: str,
    int: Annotated[int, msgspec.Meta(ge=SMALLEST_INTEGER, le=2**63 - 1)],
    bool: bool,
}
_PLAIN_KINDS = {*_PLAIN_TYPES, types.NoneType}  # and no class derived from one of these

type Converter = Callable[[Any], Any]


class Payload(msgspec.Struct, kw_only=True):
    """Base class of what a feature's events carry. A key without a default is required."""

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The payload keys that the class names, in their order."""
        return cls.__struct_encode_fields__


def converter(kept: PayloadType) -> Converter:
    """A function that gives a value the type `kept` where nothing is lost (`"18"` to 18), else raises ValueError.

    >>> converter(int)("18")
    18
    """
    if isinstance(kept, list):
        return _list_converter(converter(kept[0]))
    if isinstance(kept, dict):
        return _object_converter({key: converter(value) for key, value in kept.items()})
    return _SCALAR_CONVERTERS[kept]


def refuse_unstorable(raw: msgspec.Raw, value: Any) -> None:
    """Lets pass the JSON value whose text is `raw`.

    Raises:
        Rejection: a string holds U+0000 (`invalid_text`), a number is outside 64 bits (`number_out_of_range`).
    """
    if may_be_unstorable(bytes(raw)):
        require_storable(value)


def require_storable(value: Any) -> None:
    """As `refuse_unstorable`, for a value whose text is not known."""
    if isinstance(value, str):
        if "\0" in value:
            raise Rejection("invalid_text", "A string contains the character U+0000, which PostgreSQL can't store.")
    elif isinstance(value, int):
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise Rejection("number_out_of_range", "A number does not fit in 64 bits.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            require_storable(key)
            require_storable(item)
    elif isinstance(value, list):
        for item in value:
            require_storable(item)


def normalised(value: Any, depth: int = 0) -> Any:
    """`value` without the keys that hold null or an empty object, at any depth.

    Raises:
        Rejection: it is not JSON, or holds what one of the stores can't keep.
    """
    kind = type(value)
    if kind is str or kind is int:
        require_storable(value)
        return value
    if kind is bool or value is None:
        return value
    if depth == MAX_DEPTH:
        raise Rejection("too_deep", f"Objects and arrays are nested deeper than {MAX_DEPTH} levels.")
    if kind is dict or isinstance(value, Mapping):
        return _normalised_object(value, depth + 1)
    if kind is list:
        return _normalised_list(value, depth + 1)
    if kind is float:
        if not math.isfinite(value):
            raise Rejection("number_out_of_range", "A number does not fit in a double.")
        return value
    raise Rejection("not_json", f"A value of type {kind.__name__} is not JSON.")


def _normalised_object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    kept = {}
    for key, item in value.items():
        if type(key) is not str:
            raise Rejection("not_json", f"The key {quoted(key)} is not a string.")
        if "\0" in key or "%2E" in key:
            raise Rejection("invalid_key", f"The key {quoted(key)} contains U+0000 or %2E.")
        item = normalised(item, depth)
        if item is not None and item != {}:
            kept[key] = item
    return kept


def _normalised_list(value: list[Any], depth: int) -> list[Any]:
    items = [normalised(item, depth) for item in value]
    if None in items and all(item is None or type(item) in (list, dict) for item in items):
        raise Rejection("invalid_array", "An array holds null, but no string, number or boolean.")
    kinds = {type(number) for number in _numbers(items) if type(number) is float or abs(number) > _LARGEST_EXACT_FLOAT}
    if len(kinds) > 1:
        raise Rejection("number_out_of_range", "An array mixes fractions with integers above 2^53.")
    return items


def _numbers(items: Iterable[Any]) -> Iterator[int | float]:
    """The numbers in an array, and in the arrays in it: ClickHouse gives all of them one type."""
    for item in items:
        if type(item) is int or type(item) is float:
            yield item
        elif type(item) is list:
            yield from _numbers(item)
        elif type(item) is dict:
            yield from _numbers(inner for inner in item.values() if type(inner) in (list, dict))


def _to_string(value: Any) -> str:
    if type(value) is not str:
        raise _wrong_type(str, value)
    return value


def _to_integer(value: Any) -> int:
    if type(value) is int:
        return value
    try:
        return msgspec.convert(value, int, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(int, value) from error


def _to_float(value: Any) -> float:
    if type(value) is float:
        return value
    try:
        number = msgspec.convert(value, float, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise _wrong_type(float, value) from error
    if not math.isfinite(number):
        raise _wrong_type(float, value)
    if type(value) is int and number != value:
        raise ValueError(f"the number {quoted(value)} can't be a fraction without loss")
    return number


def _to_boolean(value: Any) -> bool:
    try:
        return msgspec.convert(value, bool, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(bool, value) from error


def _to_timestamp(value: Any) -> str:
    return format_timestamp(parse_timestamp(value))


_SCALAR_CONVERTERS: dict[type, Converter] = {
    str: _to_string,
    int: _to_integer,
    float: _to_float,
    bool: _to_boolean,
    datetime: _to_timestamp,
}


def _list_converter(convert_item: Converter) -> Converter:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong_type(list, value)
        return [item if item is None else convert_item(item) for item in value]

    return convert


def _object_converter(converters: Mapping[str, Converter]) -> Converter:
    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong_type(dict, value)
        return converted(value, converters)

    return convert


def converted(payload: Mapping[str, Any], converters: Mapping[str, Converter]) -> dict[str, Any]:
    """`payload` with the values of the keys in `converters` converted; other keys are kept as they are.

    Raises:
        ValueError: a value can't have its key's type without loss; the message names the key.
    """
    result = dict(payload)
    for key in result.keys() & converters.keys():
        if result[key] is not None:
            try:
                result[key] = converters[key](result[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
    return result


def plainly_encoded(payload: Mapping[str, Any], payload_class: type[Payload] | None) -> bytes | None:
    """The JSON of a payload whose values only have to be written down; None where a closer look is needed.

    It is what the longer way (`converted`, `normalised`, `encode_payload`) comes to, at a fraction of the time.
    """
    if not payload:
        return None if payload_class else b"{}"
    plain_class = _plain_class(payload_class) if payload_class else None
    if plain_class is None or not _PLAIN_KINDS.issuperset(map(type, payload.values())):
        return None
    try:
        encoded = msgspec.json.encode(msgspec.convert(payload, plain_class))
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None
    if len(encoded) > MAX_PAYLOAD_BYTES:
        return None
    return None if _BACKSLASH in encoded and rb"\u" in encoded else encoded


@cache
def _plain_class(payload_class: type[Payload]) -> type[msgspec.Struct] | None:
    """The class of the payloads that hold nothing but texts, integers and booleans, each of its key's type.

    None where `payload_class` needs a key that holds anything else, or has checks of its own.
    """
    if hasattr(payload_class, "__post_init__") or payload_class.__struct_config__.tag is not None:
        return None
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(payload_class):
        kept = payload_type(field.type)
        plain_type = _PLAIN_TYPES.get(kept) if isinstance(kept, type) else None
        if field.required:
            if plain_type is None:
                return None
            fields.append((field.name, plain_type))
        elif plain_type is not None:
            fields.append((field.name, plain_type | None, None))
    names = {field.name: field.encode_name for field in msgspec.structs.fields(payload_class)}
    return msgspec.defstruct(
        payload_class.__name__, fields, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename=names
    )


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """The JSON of a payload.

    Raises:
        UnicodeEncodeError: a string holds half a surrogate pair.
    """
    return msgspec.json.encode(_with_large_floats_written_out(payload))


def _with_large_floats_written_out(value: Any) -> Any:
    """`value` with a fraction in each float that PostgreSQL would else write as an integer beyond 64 bits.

    ClickHouse would take that for a string.
    """
    if isinstance(value, float) and abs(value) >= _SMALLEST_FLOAT_WRITTEN_OUT:
        return msgspec.Raw(b"%d.0" % int(value))
    if isinstance(value, dict):
        return {key: _with_large_floats_written_out(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_large_floats_written_out(item) for item in value]
    return value


def _wrong_type(expected: type, value: Any) -> ValueError:
    return ValueError(f"expected {_JSON_NAMES[expected]}, got {_JSON_NAMES.get(type(value), type(value).__name__)}")


_JSON_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
