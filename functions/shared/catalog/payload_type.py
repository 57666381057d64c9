"""Types of payload keys, read from the annotations of a payload class."""

import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

type PayloadType = type | list["PayloadType"] | dict[str, "PayloadType"]
"""Type of a key: `str`, `int`, `float`, `bool`, `datetime`; `[item type]` for a list; a dict of keys for an object."""


def payload_type(annotation: Any, within: tuple[type, ...] = ()) -> PayloadType:
    """The type of a payload key with this annotation.

    Args:
        within: the classes around the key, outermost first.

    Raises:
        TypeError: the stores or GraphQL do not support the annotation.
    """
    if annotation in (str, int, float, bool, datetime):
        return annotation  # type: ignore[no-any-return]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        present = [argument for argument in arguments if argument is not types.NoneType]
        if len(present) == 1:
            return payload_type(present[0], within)
    elif origin is list:
        return [payload_type(arguments[0], within)]
    elif isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return key_types(annotation, within)
    raise TypeError(
        f"{annotation!r} is not a type for a payload key: use str, int, float, bool, datetime, "
        "list[…], a nested Payload, or one of these with | None"
    )


def key_types(payload_class: type[msgspec.Struct], within: tuple[type, ...] = ()) -> dict[str, PayloadType]:
    """The types of the keys of a payload class.

    Args:
        within: the classes around this one, outermost first.

    Raises:
        TypeError: the stores or GraphQL do not support an annotation, the class contains itself, or a key of a nested
            class has a source.
        NameError: an annotation contains an undefined name.
    """
    if payload_class in within:
        raise TypeError(f"the payload class {payload_class.__name__} contains itself; GraphQL needs a finite type")
    if within and getattr(payload_class, "__own_sources__", None):
        raise TypeError(
            f"{payload_class.__name__} is a part of a payload, so its keys can't have a source of their own"
        )
    within = (*within, payload_class)
    return {field.encode_name: payload_type(field.type, within) for field in msgspec.structs.fields(payload_class)}


def object_class(annotation: Any) -> type[msgspec.Struct] | None:
    """The payload class in an annotation, also inside a list or union; None without one."""
    if arguments := get_args(annotation):
        return next(filter(None, map(object_class, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


def nested_classes(payload_class: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """The payload classes nested in this one at any depth, each once, without itself."""
    found: dict[type[msgspec.Struct], None] = {}
    for field in msgspec.structs.fields(payload_class):
        if nested := object_class(field.type):
            found |= {nested: None} | dict.fromkeys(nested_classes(nested))
    yield from found


class DeclaredKey(NamedTuple):
    """A key that a payload class declares.

    Attributes:
        path: keys joined by dots, like `job.size`; `[]` stands for the items of a list, like `jobs[].size`.
        type: type of the value in words, see `describe`.
        required: whether the key has no default.
    """

    path: str
    type: str
    required: bool


def declared_keys(payload_class: type[msgspec.Struct], within: str = "") -> Iterator[DeclaredKey]:
    """All keys of a payload class and of the classes nested in it, each object before its own keys.

    Args:
        within: path of the object around the keys, with a dot at its end.
    """
    for field in msgspec.structs.fields(payload_class):
        key_type = payload_type(field.type)
        path = f"{within}{field.encode_name}"
        yield DeclaredKey(path, describe(key_type), field.required)
        if nested := object_class(field.type):
            while isinstance(key_type, list):
                path, key_type = f"{path}[]", key_type[0]
            yield from declared_keys(nested, f"{path}.")


def type_at(types_of_keys: Mapping[str, PayloadType], path: str) -> PayloadType | None:
    """The type of a key, or of keys joined by dots like `job.size`; None if undeclared.

    >>> type_at({"job": {"size": int}}, "job.size")
    <class 'int'>
    """
    key_type: PayloadType | None = dict(types_of_keys)
    for key in path.split("."):
        key_type = key_type.get(key) if isinstance(key_type, dict) else None
    return key_type


def leaf_paths(types_of_keys: Mapping[str, PayloadType], within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that are not objects.

    >>> list(leaf_paths({"job": {"size": int}, "tags": [str]}))
    [('job', 'size'), ('tags',)]
    """
    for key, key_type in types_of_keys.items():
        if isinstance(key_type, dict):
            yield from leaf_paths(key_type, (*within, key))
        else:
            yield *within, key


def describe(key_type: PayloadType) -> str:
    """The type in words: `int`, `list of str`, `object`."""
    if isinstance(key_type, list):
        return f"list of {describe(key_type[0])}"
    return "object" if isinstance(key_type, dict) else key_type.__name__
