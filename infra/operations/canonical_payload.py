"""Brings a payload into one form, however a store has written it."""

import json
from typing import Any

_INTEGERS = range(-(2**63), 2**64)


def canonical_payload(text: str) -> Any:
    """Parses a payload into a form that is equal for equal payloads.

    ClickHouse keeps neither keys without a value nor empty objects, and keeps integers of more than 64 bits as text. A
    number is the same number with and without a fraction of zero.

    >>> canonical_payload('{"a": 1.0, "b": null, "c": {"d": {}}}') == canonical_payload('{"a":1}')
    True
    >>> canonical_payload('{"a": true}') == canonical_payload('{"a": 1}')
    False
    """
    return _canonical(json.loads(text))


def _canonical(value: Any) -> Any:
    match value:
        case bool():
            return (value,)  # else True would be equal to 1
        case int():
            return value if value in _INTEGERS else str(value)
        case dict():
            entries = {key: _canonical(item) for key, item in value.items()}
            return {key: item for key, item in entries.items() if item is not None and item != {}}
        case list():
            return [_canonical(item) for item in value]
        case _:
            return value
