"""Keys of payloads that no definition declares: only so many in each, since ClickHouse keeps every path by itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from functions.shared.catalog.payload_type import PayloadType
from functions.shared.rejection import Rejection

MAX_UNDECLARED_KEYS = 64
"""Of one payload: half of the paths that ClickHouse gives files of their own, so that no event takes all of these."""

_NESTING = {dict, list}  # the only types in a payload that was normalised which hold keys


def require_few_undeclared(payload: Mapping[str, Any], declared: Mapping[str, PayloadType]) -> None:
    """Lets pass a payload that was normalised, unless it has too many keys that no definition declares.

    What is counted are paths: a key in each of an array's objects is one, and an object counts by the keys within it.

    Raises:
        Rejection: there are more than `MAX_UNDECLARED_KEYS` (`too_many_keys`).
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


def _undeclared(value: Any, kept: PayloadType | None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of what is at `path` or below it, where `kept`, what is declared to be there, does not name them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _undeclared(item, kept.get(key) if isinstance(kept, dict) else None, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for item in value:
            yield from _undeclared(item, kept[0] if isinstance(kept, list) else None, (*path, "[]"))
    elif kept is None:
        yield path
