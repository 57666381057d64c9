"""Reads the values of payload keys, of many events at once."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from functions.graphql.types.payload_fields import typed_value
from functions.shared.catalog.payload_type import PayloadType

type Column = Sequence[Any]
"""A value of each event."""

# Integers outside these bounds, and doubles like 8.0 for integers, are read one by one.
_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

# What a whole array of values is decoded to. Times are parsed later.
_DECODED: dict[Any, Any] = {
    str: str | None,
    int: _INTEGER | None,
    float: float | None,
    bool: bool | None,
    datetime: Any,
}


def json_value(text: str | msgspec.Raw | None) -> Any:
    """The value in a JSON text; None for numbers outside a double's range, and without a text."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.ValidationError:
        return None


def is_scalar(key_type: PayloadType) -> bool:
    """Whether the values of a key are strings, numbers, booleans or times."""
    return not isinstance(key_type, list | dict)


def values_reader(
    keys: Sequence[str], types: Mapping[str, PayloadType]
) -> Callable[[Sequence[str]], Mapping[str, Column]]:
    """Returns a function that reads JSON arrays of the values at the keys, and returns a column of each key in `types`.

    Args:
        types: scalar types by key.
    """
    typed = {place: types[key] for place, key in enumerate(keys) if key in types}
    decoded = [_DECODED[typed[place]] if place in typed else msgspec.Raw for place in range(len(keys))]
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(GenericAlias(tuple, tuple(decoded)))

    def values(text: str) -> Sequence[Any]:
        try:
            return decoder.decode(text)  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            raws = msgspec.json.decode(text, type=list[msgspec.Raw])
            return [_lenient(raw, typed.get(place)) for place, raw in enumerate(raws)]

    def read(texts: Sequence[str]) -> Mapping[str, Column]:
        columns = list(zip(*map(values, texts), strict=True))
        return {keys[place]: _parsed(columns[place], key_type) for place, key_type in typed.items()}

    return read


def _lenient(raw: msgspec.Raw, key_type: Any) -> Any:
    """The value, or None if it does not have the type; a time as a text."""
    value = json_value(raw)
    return value if key_type in (None, datetime) else typed_value(value, key_type)


def _parsed(column: Column, key_type: PayloadType) -> Column:
    return [typed_value(value, datetime) for value in column] if key_type is datetime else column
