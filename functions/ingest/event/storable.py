"""The rules for values that can be stored.

PostgreSQL's `jsonb` and ClickHouse's `JSON` support different values. A value that either store can't keep is rejected
or dropped before it reaches PostgreSQL, so that both stores hold the same.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from functions.ingest.formats.json_scan import may_be_unstorable
from functions.shared.catalog.payload import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER
from functions.shared.rejection import Rejection, quoted

_MAX_EXACT_FLOAT = 2**53


def refuse_unstorable(raw: msgspec.Raw, value: Any) -> None:
    """Checks a JSON value; `raw` is its text, which makes the check fast.

    Raises:
        Rejection: a string contains U+0000 (`invalid_text`), or a number exceeds 64 bits (`number_out_of_range`).
    """
    if may_be_unstorable(bytes(raw)):
        require_storable(value)


def require_storable(value: Any) -> None:
    """Checks a JSON value like `refuse_unstorable`, without its text."""
    if isinstance(value, str):
        if "\0" in value:
            raise Rejection("invalid_text", "A string contains the character U+0000, which PostgreSQL can't store.")
    elif isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise Rejection("number_out_of_range", "A number does not fit in 64 bits.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            require_storable(key)
            require_storable(item)
    elif isinstance(value, list):
        for item in value:
            require_storable(item)


def normalised(value: Any, depth: int = 0) -> Any:
    """Returns `value` without keys that hold null or an empty object, at any depth.

    Raises:
        Rejection: `value` is not JSON, or contains a value that one of the stores can't keep.
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
    normalised_object = {}
    for key, item in value.items():
        if type(key) is not str:
            raise Rejection("not_json", f"The key {quoted(key)} is not a string.")
        if "\0" in key or "%2E" in key:
            raise Rejection("invalid_key", f"The key {quoted(key)} contains U+0000 or %2E.")
        item = normalised(item, depth)
        if item is not None and item != {}:
            normalised_object[key] = item
    return normalised_object


def _normalised_list(value: list[Any], depth: int) -> list[Any]:
    items = [normalised(item, depth) for item in value]
    if None in items and all(item is None or type(item) in (list, dict) for item in items):
        raise Rejection("invalid_array", "An array holds null, but no string, number or boolean.")
    kinds = {type(number) for number in _numbers(items) if type(number) is float or abs(number) > _MAX_EXACT_FLOAT}
    if len(kinds) > 1:
        raise Rejection("number_out_of_range", "An array mixes fractions with integers above 2^53.")
    return items


def _numbers(items: Iterable[Any]) -> Iterator[int | float]:
    """Yields the numbers of an array and of its nested arrays; ClickHouse gives all of them one type."""
    for item in items:
        if type(item) is int or type(item) is float:
            yield item
        elif type(item) is list:
            yield from _numbers(item)
        elif type(item) is dict:
            yield from _numbers(inner for inner in item.values() if type(inner) in (list, dict))
