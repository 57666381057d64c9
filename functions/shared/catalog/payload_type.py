"""What the keys of a payload hold, as the annotations of its class say."""

import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Union, get_args, get_origin

import msgspec

type PayloadType = type | list["PayloadType"] | dict[str, "PayloadType"]
"""What a key holds: `str`, `int`, `float`, `bool`, `datetime`; `[item]` for a list; a dict for an object."""


def payload_type(annotation: Any, within: tuple[type, ...] = ()) -> PayloadType:
    """What the annotation of a payload's field lets its key hold.

    Args:
        within: the classes that the field is in, outermost first.

    Raises:
        TypeError: the annotation is none that both stores can keep and GraphQL can show.
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
        f"{annotation!r} is no type for a payload key: use str, int, float, bool, datetime, "
        "list[…], a nested Payload, or one of these with | None"
    )


def key_types(payload_class: type[msgspec.Struct], within: tuple[type, ...] = ()) -> dict[str, PayloadType]:
    """What the keys of the class hold.

    Args:
        within: as for `payload_type`.

    Raises:
        TypeError: as for `payload_type`, or the class holds itself.
        NameError: an annotation names what is not there.
    """
    if payload_class in within:
        raise TypeError(f"the payload class {payload_class.__name__} holds itself, so it has no end in GraphQL")
    within = (*within, payload_class)
    return {field.encode_name: payload_type(field.type, within) for field in msgspec.structs.fields(payload_class)}


def object_class(annotation: Any) -> type[msgspec.Struct] | None:
    """The class of the objects that a payload's field holds, also in a list; None where it holds none."""
    if arguments := get_args(annotation):
        return next(filter(None, map(object_class, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


def nested_classes(payload_class: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """The classes of the objects within a payload, at any depth, each once; its own is not among them."""
    found: dict[type[msgspec.Struct], None] = {}
    for field in msgspec.structs.fields(payload_class):
        if nested := object_class(field.type):
            found |= {nested: None} | dict.fromkeys(nested_classes(nested))
    yield from found


def type_at(types_of_keys: Mapping[str, PayloadType], path: str) -> PayloadType | None:
    """What is at a key, or at a path of keys like `job.size`; None where the types name no such key.

    >>> type_at({"job": {"size": int}}, "job.size")
    <class 'int'>
    """
    key_type: PayloadType | None = dict(types_of_keys)
    for key in path.split("."):
        key_type = key_type.get(key) if isinstance(key_type, dict) else None
    return key_type


def leaf_paths(types_of_keys: Mapping[str, PayloadType], within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that hold something else than an object.

    >>> list(leaf_paths({"job": {"size": int}, "tags": [str]}))
    [('job', 'size'), ('tags',)]
    """
    for key, key_type in types_of_keys.items():
        if isinstance(key_type, dict):
            yield from leaf_paths(key_type, (*within, key))
        else:
            yield *within, key


def describe(key_type: PayloadType) -> str:
    """The type's name for people: `int`, `list of str`, `object`."""
    if isinstance(key_type, list):
        return f"list of {describe(key_type[0])}"
    return "object" if isinstance(key_type, dict) else key_type.__name__
