"""Limits the payload keys that no definition declares, because ClickHouse keeps every path separately."""

from collections.abc import Iterator, Mapping
from typing import Any

from functions.shared.catalog.payload_type import PayloadType
from functions.shared.rejection import Rejection

MAX_UNDECLARED_KEYS = 64
"""Limit per payload: half of the paths that ClickHouse stores in files of their own, so no event uses all of them."""

_NESTING = {dict, list}  # the only types in a normalised payload that contain keys


def require_few_undeclared(payload: Mapping[str, Any], declared: Mapping[str, PayloadType]) -> None:
    """Rejects a normalised payload that has too many undeclared keys.

    Each path counts once: a key in the objects of an array is one path, and an object counts by the keys within it.

    Raises:
        Rejection: the payload has more than `MAX_UNDECLARED_KEYS` undeclared keys (`too_many_keys`).
    """
    if len(payload) <= MAX_UNDECLARED_KEYS and _NESTING.isdisjoint(map(type, payload.values())):
        return
    found: set[tuple[str, ...]] = set()
    for path in _undeclared(payload, dict(declared)):
        found.add(path)
        if len(found) > MAX_UNDECLARED_KEYS:
            raise Rejection(
                "too_many_keys", f"The payload has more than {MAX_UNDECLARED_KEYS} keys that no definition declares."
            )


def _undeclared(value: Any, declared: PayloadType | None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the undeclared paths at and below `path`, where `declared` is the type declared for `path`, if any."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _undeclared(item, declared.get(key) if isinstance(declared, dict) else None, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for item in value:
            yield from _undeclared(item, declared[0] if isinstance(declared, list) else None, (*path, "[]"))
    elif declared is None:
        yield path
