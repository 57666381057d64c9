"""`Payload`, the base class of payload classes, and the conversion of values to their declared types."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, get_args

import msgspec
from msgspec import StructMeta

from functions.shared.catalog.payload_type import PayloadType
from functions.shared.catalog.source import Source
from functions.shared.rejection import quoted
from functions.shared.timestamp import format_timestamp, parse_timestamp

MAX_PAYLOAD_BYTES = 16 * 1024
MAX_DEPTH = 64
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1


type Converter = Callable[[Any], Any]


class _PayloadMeta(StructMeta):
    """Turns each `source(...)` into what msgspec knows: the default None, or no default where None is not a value."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> "_PayloadMeta":
        sources = {key: value for key, value in namespace.items() if isinstance(value, Source)}
        annotations = namespace.get("__annotations__", {})
        for key in sources:
            if _includes_none(annotations.get(key)):
                namespace[key] = None
            else:
                del namespace[key]
        if sources:
            options.setdefault("kw_only", True)  # so that required keys may follow optional ones
        payload_class = super().__new__(cls, name, bases, namespace, **options)
        inherited = getattr(payload_class, "__own_sources__", {})
        payload_class.__own_sources__ = inherited | sources  # type: ignore[attr-defined]
        return payload_class


def _includes_none(annotation: Any) -> bool:
    if isinstance(annotation, str):  # from __future__ import annotations
        return "None" in annotation or "Optional" in annotation
    return annotation is None or NoneType in get_args(annotation)


class Payload(msgspec.Struct, kw_only=True, metaclass=_PayloadMeta):
    """Base class of a feature's payload class. A key without a default is required.

    A key whose default is `source(...)` gets its value from elsewhere in the event; see `source`.
    """

    @classmethod
    def sources(cls) -> dict[str, Source]:
        """Where the value of each key is: as `source` declares, else under the key itself."""
        declared = cls.declared_sources()
        return {key: declared.get(key) or Source((key,)) for key in cls.fields()}

    @classmethod
    def declared_sources(cls) -> dict[str, Source]:
        """The keys whose default is `source(...)`."""
        own: dict[str, Source] = cls.__own_sources__  # type: ignore[attr-defined]
        names = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
        return {key: own[name] for name, key in names if name in own}

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The payload keys that the class declares, in order."""
        return cls.__struct_encode_fields__


def converter(key_type: PayloadType) -> Converter:
    """A function that converts a value to `key_type` without loss (`"18"` to 18), or raises ValueError.

    >>> converter(int)("18")
    18
    """
    if isinstance(key_type, list):
        return _list_converter(converter(key_type[0]))
    if isinstance(key_type, dict):
        return _object_converter({key: converter(value) for key, value in key_type.items()})
    return _SCALAR_CONVERTERS[key_type]


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
        raise ValueError(f"the number {quoted(value)} does not fit into a double without loss")
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
    """A copy of `payload` with the values converted whose keys `converters` has.

    Raises:
        ValueError: a value can't be converted without loss; the message names the key.
    """
    result = dict(payload)
    for key in result.keys() & converters.keys():
        if result[key] is not None:
            try:
                result[key] = converters[key](result[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
    return result


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
