"""Turns events into rows: prefetch, transformations, and the rules for payloads."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import psycopg

from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.event.attributes import contents_of
from functions.ingest.event.event import Event, require_user_id, storable_times
from functions.ingest.event.location import require_namespace_path
from functions.ingest.event.storable import normalised
from functions.ingest.formats.json_error import reason
from functions.ingest.message.batch import Batch
from functions.ingest.payload_encoder import encode_payload, plainly_encoded
from functions.ingest.postgres.row import EVERY_MONTH, Row, neighbouring_month, write_order_key
from functions.ingest.typed_events import TypedEvents
from functions.ingest.undeclared import require_few_undeclared
from functions.shared.catalog.context import Context
from functions.shared.catalog.feature import CODE_ERRORS, Feature, Transformation, function_name
from functions.shared.catalog.payload import MAX_PAYLOAD_BYTES, Payload, converted
from functions.shared.catalog.registry import OVERRIDES, EventType, Registry
from functions.shared.catalog.source import taken
from functions.shared.grant import Grant
from functions.shared.postgres import Connection, Database
from functions.shared.rejection import Rejection
from functions.shared.timestamp import parse_timestamp

PREFETCH_SECONDS = 5

_MAX_REASON_CHARACTERS = 200
_USED_KEYS = (*OVERRIDES, "project_id")


class Candidate(msgspec.Struct, eq=False, gc=False):
    """An event on its way to a row.

    Attributes:
        sender: the sender's grant.
        write_order: sort key of the row, unless a transformation changes the timestamp. See `write_order_key`.
        namespace_path: traversal path of the event's namespace, as far as known before transformations run.
        moved_from: path that the event names, if its namespace or project moved from there.
        content: decoded event, if it was decoded together with others.
        context: input of the transformations, updated by each one's result.
        returned: results of the transformations that are not only part of the payload.
        encoded: JSON of the payload; empty until it is made.
        row: resulting row.
    """

    batch: Batch
    index: int
    event: Event
    sender: Grant
    write_order: int
    namespace_path: str | None
    moved_from: str | None = None
    content: dict[str, Any] | None = None
    context: Context | None = None
    returned: dict[str, Any] | None = None
    encoded: bytes = b""
    row: Row | None = None

    @property
    def names_its_path(self) -> bool:
        """Whether the event itself has a namespace path."""
        return self.event.explicit_path is not None

    @property
    def prefetches(self) -> bool:
        """Whether the event's feature has a prefetch."""
        return self.event.type.feature.prefetcher is not None

    def forget(self) -> None:
        """Releases large objects that are no longer needed, so that later candidates reuse the memory."""
        self.content = self.context = self.returned = None
        self.encoded = b""

    @property
    def returned_project_id(self) -> int | None:
        """Returns the project id from a transformation, if it is a valid id."""
        return project_id_of(self.returned) if self.returned else None


def project_id_of(returned: Mapping[str, Any]) -> int | None:
    """Returns the project id among the results of transformations, if it is a valid id."""
    project_id = returned.get("project_id")
    return project_id if type(project_id) is int and 0 < project_id < 2**63 else None


def read_together(candidates: Iterable[Candidate], typed: TypedEvents) -> None:
    """Decodes all events in one call that have no payload yet, and makes the payloads that need no Python."""
    candidates = list(candidates)
    take_typed_payloads(candidates, typed)
    unread = [candidate for candidate in candidates if candidate.returned is None]
    if unread:
        for candidate, content in zip(unread, contents_of([one.event.raw for one in unread]), strict=True):
            candidate.content = content


def take_typed_payloads(candidates: Iterable[Candidate], typed: TypedEvents) -> None:
    """Sets `encoded` and `returned` of the candidates whose payload the typed pass has."""
    fitting = [one for one in candidates if one.returned is None and one.event.type.name in typed.names]
    payloads = typed.payloads([(one.event.raw, one.event.project.id) for one in fitting])
    for candidate, payload in zip(fitting, payloads, strict=True):
        if payload is not None:
            candidate.encoded, project_id = payload
            candidate.returned = {} if project_id is None else {"project_id": project_id}


def read_context(candidate: Candidate) -> Context:
    """Returns the candidate's context, which is built once.

    Raises:
        Rejection: the event contains a value that can't be stored.
    """
    if candidate.context is None:
        candidate.context = candidate.event.context(candidate.content)
        if candidate.namespace_path is not None:
            candidate.context["namespace_path"] = candidate.namespace_path
    return candidate.context


def prefetch(candidates: Iterable[Candidate], database: Database) -> dict[str, Rejection]:
    """Runs the prefetch of each feature, and adds the results to the contexts.

    Returns:
        The rejection for each feature whose prefetch failed, by name.

    Raises:
        psycopg.OperationalError: the connection to PostgreSQL was lost.
    """
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.event.type.feature.name].append(candidate)
    failed = {}
    for name, group in groups.items():
        try:
            results = database.run_confined(partial(_prefetched, group), PREFETCH_SECONDS)
        except Rejection as rejection:
            failed[name] = rejection
            continue
        for candidate, additional in zip(group, results, strict=True):
            read_context(candidate).update(additional)
    return failed


def transform(candidate: Candidate, registry: Registry) -> None:
    """Sets `encoded` and `returned` unless the typed pass did, and releases what they are made of.

    An event of 64 KiB can take megabytes while it is decoded.

    Raises:
        Rejection: a transformation raised, or returned something that can't be stored.
    """
    if candidate.returned is not None:
        return
    context = read_context(candidate)
    candidate.encoded, candidate.returned = transformed(context, candidate.event.type, registry)
    candidate.content = candidate.context = None


def transformed(context: Context, event_type: EventType, registry: Registry) -> tuple[bytes, dict[str, Any]]:
    """Runs the transformations of an event, which add their results to the context.

    Returns:
        The JSON of the payload, and the results that are not only part of the payload.

    Raises:
        Rejection: a transformation raised, or returned something that can't be stored.
    """
    payload_class = event_type.payload_class
    try:
        returned = taken(context, event_type.sources)
    except ValueError as error:
        raise Rejection("transformation_failed", f"{error}.") from error
    part: Mapping[str, Any] = {}
    for transformation in event_type.transformations:
        context.update(part)
        part = _returned(transformation, context)
        returned.update(part)
    try:
        encoded = plainly_encoded(returned, payload_class)
        if encoded is None:
            returned = normalised(converted(returned, registry.converters))
            payload = {key: item for key, item in returned.items() if key not in OVERRIDES}
            require_few_undeclared(payload, registry.payload_types)
            encoded = _encoded(payload, payload_class)
    except CODE_ERRORS as error:
        raise _as_rejection(error) from error
    return encoded, {key: returned[key] for key in _USED_KEYS if key in returned}


def row_of(candidate: Candidate, directory: BatchDirectory, retention_months: int) -> Row:
    """Returns the row for a transformed event.

    Raises:
        Rejection: the sender may not write to the namespace or for the user, or the payload can't be stored.
    """
    event, returned = candidate.event, candidate.returned or {}
    timestamp, write_order = event.timestamp, candidate.write_order
    user_id, namespace_path = event.user_id, event.explicit_path
    time_is_assigned = event.time_is_assigned
    if "timestamp" in returned:
        timestamp = _time(returned["timestamp"])
        storable_times(candidate.batch.received_at, retention_months).require(timestamp)
        write_order = write_order_key(timestamp, event.id)
        time_is_assigned = False
    if "user_id" in returned:
        user_id = require_user_id(returned["user_id"])
    if "namespace_path" in returned:
        namespace_path = require_namespace_path(returned["namespace_path"])
        directory.late_paths.add(namespace_path)
    elif namespace_path is None:
        namespace_path = directory.namespace_path(event, candidate.returned_project_id)
    if user_id != event.user_id or namespace_path != event.explicit_path:
        candidate.sender.require_writable(user_id, namespace_path)
    return Row(
        event.id,
        timestamp,
        event.type.id,
        user_id,
        namespace_path,
        event.project.id or candidate.returned_project_id,
        candidate.encoded,
        write_order,
        EVERY_MONTH if time_is_assigned else neighbouring_month(timestamp),
    )


def _returned(transformation: Transformation, context: Context) -> dict[str, Any]:
    try:
        returned = transformation(context)
        if type(returned) is not dict and isinstance(returned, Mapping):
            returned = dict(returned)
    except CODE_ERRORS as error:
        raise Rejection("transformation_failed", f"{function_name(transformation)}: {_reason(error)}") from error
    if type(returned) is not dict:
        name = function_name(transformation)
        raise Rejection("not_json", f"{name} must return a dict, not {type(returned).__name__}.")
    return returned


def _prefetched(group: Sequence[Candidate], connection: Connection) -> Sequence[Mapping[str, Any]]:
    """Runs the prefetch of the group's feature within the open transaction."""
    return prefetched([read_context(candidate) for candidate in group], group[0].event.type.feature, connection)


def prefetched(contexts: Sequence[Context], feature: Feature, connection: Connection) -> Sequence[Mapping[str, Any]]:
    """Runs the prefetch of a feature within the open transaction; returns what it adds to each context.

    Raises:
        Rejection: the prefetch failed.
    """
    try:
        additional = feature.prefetcher(contexts, connection) if feature.prefetcher else contexts
    except CODE_ERRORS as error:
        if connection.broken and not _is_timeout(error):
            raise
        raise Rejection("prefetch_failed", f"The prefetch of {feature.name} failed: {_reason(error)}") from error
    if not _is_a_dict_for_each(additional, len(contexts)):
        raise Rejection("prefetch_failed", f"The prefetch of {feature.name} did not return a dict for each context.")
    return additional


def _is_a_dict_for_each(prefetched: object, count: int) -> bool:
    return (
        isinstance(prefetched, list | tuple)
        and len(prefetched) == count
        and all(isinstance(additional, Mapping) for additional in prefetched)
    )


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, psycopg.errors.TransactionTimeout | psycopg.errors.IdleInTransactionSessionTimeout)


def _time(value: Any) -> Any:
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise Rejection("invalid_timestamp", f"The transformation's timestamp: {error}.") from error


def _encoded(payload: dict[str, Any], payload_class: type[Payload] | None) -> bytes:
    if payload_class is not None:
        _require_class(payload, payload_class)
    try:
        encoded = encode_payload(payload)
    except UnicodeEncodeError as error:
        raise Rejection("invalid_text", "A string of the payload holds half a surrogate pair.") from error
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise Rejection(
            "payload_too_large", f"The payload has {len(encoded)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed."
        )
    return encoded


def _require_class(payload: dict[str, Any], payload_class: type[Payload]) -> None:
    try:
        msgspec.convert(payload, payload_class)
    except CODE_ERRORS as error:
        message = reason(error) if isinstance(error, msgspec.ValidationError) else _reason(error)
        raise Rejection("invalid_payload", f"The payload is not a {payload_class.__name__}: {message}.") from error


def _as_rejection(error: BaseException) -> Rejection:
    if isinstance(error, Rejection):
        return error
    if isinstance(error, ValueError):
        return Rejection("invalid_payload", f"{error}.")
    return Rejection(
        "not_json", f"The transformation's result can't be read: {_reason(error)}"
    )  # the result's own code failed


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"[:_MAX_REASON_CHARACTERS]
    except CODE_ERRORS:  # formatting a definition's exception may fail
        return name
