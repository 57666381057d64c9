"""Finds stored values that a key's new type does not fit, as GraphQL reads them.

Types and paths are written as in `DeclaredKey`.
"""

import json
from collections.abc import Iterator

_LIST = "list of "

# JSON path that finds a value of another JSON type. `.type()` of a missing value finds nothing.
_OTHER_TYPE = 'lax {path}.type() ? (@ != "{json_type}" && @ != "null")'
_FRACTION = 'lax {path} ? (@.type() == "number" && @.floor() != @)'
_ANY = "lax {path}"

_JSON_TYPES = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "object": "object"}

# Values of the first type are stored in a way that fits the second.
_FITTING = {("int", "float"), ("datetime", "str")}


def always_readable(before: str, now: str) -> bool:
    """Whether all values that were stored as one type can be read as the other.

    >>> always_readable("list of int", "list of float"), always_readable("float", "int")
    (True, False)
    """
    while before.startswith(_LIST) and now.startswith(_LIST):
        before, now = before.removeprefix(_LIST), now.removeprefix(_LIST)
    return before == now or (before, now) in _FITTING


def unreadable(path: str, before: str, now: str) -> Iterator[str]:
    """JSON paths that find the values at a path that were stored as one type and can't be read as the other.

    A text may be a time or not; PostgreSQL can't tell, so all texts count.
    """
    yield from _unreadable(_json_path(path), before, now)


def having(path: str) -> tuple[str]:
    """JSON path that finds any value at a path."""
    return (_ANY.format(path=_json_path(path)),)


def _unreadable(path: str, before: str, now: str) -> Iterator[str]:
    if now.startswith(_LIST):
        yield _OTHER_TYPE.format(path=path, json_type="array")
        if before.startswith(_LIST):
            yield from _unreadable(f"{path}[*]", before.removeprefix(_LIST), now.removeprefix(_LIST))
    elif now == "datetime":
        yield _ANY.format(path=path)
    else:
        yield _OTHER_TYPE.format(path=path, json_type=_JSON_TYPES[now])
        if now == "int":
            yield _FRACTION.format(path=path)


def _json_path(path: str) -> str:
    """JSON path of a declared key.

    >>> _json_path("jobs[].size")
    '$."jobs"[*]."size"'
    """
    keys = (key.partition("[]") for key in path.split("."))
    return "$" + "".join(f".{json.dumps(name)}{(lists + rest).replace('[]', '[*]')}" for name, lists, rest in keys)
