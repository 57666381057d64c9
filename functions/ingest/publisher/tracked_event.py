"""Encodes a call of `track_event` as an event with an id and a timestamp."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from functions.ingest.contract import Namespace, Project, User, without_noncharacters
from functions.shared.identifier import new_id


def encode_event(
    event: str,
    user: object,
    project: object,
    namespace: object,
    additional_properties: Mapping[str, Any] | None,
    context: Mapping[str, Any],
) -> bytes:
    """Returns the event as JSON; its length is the same on the queue.

    Adds `id` and `timestamp` unless the context has them; the additional properties may also have the timestamp.

    Args:
        user: an id, a mapping, or any object with `id` and `username`; None for the token's user.
        project: an id, a mapping, or any object with `id`, `full_path` and `namespace`.
        namespace: an id, a traversal path, a mapping, or any object with `id`, `path` and `full_path`.
        context: further keys for the transformations.

    Raises:
        Exception: a value is not JSON, or its own code raised.
    """
    now = time.time_ns()
    content: dict[str, Any] = {"event": event}
    content.update((name, value) for name, value in context.items() if value is not None)
    content["event"] = event
    if "id" not in content:
        content["id"] = new_id(now // 1_000_000)
    if "timestamp" not in content and not _has_time(additional_properties):
        content["timestamp"] = datetime.fromtimestamp(now // 1_000 / 1_000_000, UTC)  # integer division never rounds up
    if user is not None:
        content["user"] = _reference(user, User)
    if project is not None:
        content["project"] = _project(project)
    if namespace is not None:
        content["namespace"] = _namespace(namespace)
    if additional_properties is not None:
        content["additional_properties"] = additional_properties
    encoded = _encoder.encode(content)
    if b"null" in encoded:
        _refuse_non_finite_numbers(content)
    return without_noncharacters(encoded)


def _has_time(additional_properties: Mapping[str, Any] | None) -> bool:
    return isinstance(additional_properties, Mapping) and additional_properties.get("timestamp") is not None


def _namespace(namespace: object) -> object:
    return {"path": namespace} if isinstance(namespace, str) else _reference(namespace, Namespace)


def _project(project: object) -> object:
    reference = _reference(project, Project)
    namespace = reference.get("namespace")
    return reference if namespace is None else {**reference, "namespace": _namespace(namespace)}


def _reference(value: object, form: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Returns a reference to a user, project or namespace, with those attributes of `form` that `value` has."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, int | str):
        return {"id": value}
    attributes = {name: getattr(value, name, None) for name in form.__struct_fields__}
    return {name: attribute for name, attribute in attributes.items() if attribute is not None}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _refuse_non_finite_numbers(content: dict[str, Any]) -> None:
    """Raises for infinite numbers and NaN, which msgspec would write as null."""
    json.dumps(msgspec.to_builtins(content, str_keys=True, enc_hook=_plain), allow_nan=False)


_encoder = msgspec.json.Encoder(enc_hook=_plain)
