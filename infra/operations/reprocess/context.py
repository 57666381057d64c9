"""Builds the context of a stored event anew, as far as its row has it."""

import json
from collections.abc import Mapping
from typing import Any

from functions.shared.catalog.context import Context
from functions.shared.catalog.source import Source
from functions.shared.timestamp import format_timestamp
from infra.operations.reprocess.stored_events import StoredEvent


class StoredContext(Context):
    """A context that notes which keys transformations look for in vain.

    Attributes:
        missing: these keys. `slice` takes what there is, so that the keys that it lacks do not count.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.missing: set[str] = set()

    def __missing__(self, key: str) -> Any:
        self.missing.add(key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        if not found and isinstance(key, str):
            self.missing.add(key)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key."""
        return super().get(key, default) if key in self else default

    def slice(self, *keys: str) -> dict[str, Any]:
        """The entries of `keys` that the context has."""
        return {key: self[key] for key in keys if super(StoredContext, self).__contains__(key)}


def context_of(
    event: StoredEvent, name: str, payload: Mapping[str, Any], sources: Mapping[str, Source]
) -> StoredContext:
    """Returns the context of a stored event: its base attributes and its payload.

    A payload key with a source is also where the producer had its value.

    Args:
        name: name of the event.
        sources: where in the context each payload key gets its value.
    """
    context: dict[str, Any] = {
        **payload,
        "event": name,
        "id": str(event.id),
        "timestamp": format_timestamp(event.timestamp),
        "user_id": event.user_id,
        "user": {"id": event.user_id},
    }
    if event.namespace_path is not None:
        number = event.namespace_path.rstrip("/").rpartition("/")[2]
        context |= {"namespace_path": event.namespace_path, "namespace": {"path": event.namespace_path}}
        context |= {"namespace_id": int(number)} if number.isdecimal() else {}
    if event.project_id is not None:
        context |= {"project_id": event.project_id, "project": {"id": event.project_id}}
    for key, (path,) in sources.items():
        if key in payload and path != (key,):
            _place(context, path, payload[key])
    return StoredContext(context)


def _place(context: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Puts a value where its source is, without changing what the payload holds."""
    holder = context
    for key in path[:-1]:
        inner = holder.get(key)
        holder[key] = dict(inner) if isinstance(inner, Mapping) else {}
        holder = holder[key]
    holder[path[-1]] = value


def payload_of(text: str) -> dict[str, Any] | None:
    """Returns the payload of a row; None if somebody stored what is no object."""
    payload = json.loads(text)
    return payload if isinstance(payload, dict) else None
