"""`source`: says where in an event the value of a payload key is."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Where the value of a payload key is in the context of an event.

    Attributes:
        path: key of the context, then the key in each object below it.
    """

    path: tuple[str, ...]


def source(*path: str) -> Any:
    """Declares where in the context a payload key gets its value, as the default of the key.

    The key is required unless its type includes None.

        session_id: int | None = source("value")
        pipeline_id: int | None = source("job", "pipeline", "id")

    Args:
        path: key of the context, then the key in each object below it.

    Raises:
        TypeError: the path is empty, or is not made of strings.
    """
    if not path or not all(type(key) is str and key for key in path):
        raise TypeError('source needs the keys that lead to the value, like source("job", "id")')
    return Source(path)


def taken(context: Mapping[str, Any], sources: Mapping[str, Source]) -> dict[str, Any]:
    """Returns the payload keys whose values the context has.

    >>> taken({"value": 3, "job": {"id": 7}}, {"session_id": Source(("value",)), "job_id": Source(("job", "id"))})
    {'session_id': 3, 'job_id': 7}

    Args:
        sources: where the value of each payload key is.

    Raises:
        ValueError: a value that should hold a key is not an object; the message names it.
    """
    found = {}
    for key, (path,) in sources.items():
        if len(path) == 1:
            if path[0] in context:
                found[key] = context[path[0]]
        elif (holder := _holder(context, path)) is not None and path[-1] in holder:
            found[key] = holder[path[-1]]
    return found


def _holder(context: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Returns the object that holds the last key of the path; None if it, or an object above it, is absent or null."""
    holder = context
    for length, key in enumerate(path[:-1], 1):
        holder = holder.get(key)  # type: ignore[assignment]
        if holder is None:
            return None
        if not isinstance(holder, Mapping):
            raise ValueError(f"{'.'.join(path[:length])}: expected an object")  # noqa: TRY004 - about a value
    return holder
