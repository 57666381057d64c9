"""Decides whether an event can be accepted, and builds the context that transformations see."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.contract import MAX_EVENT_BYTES, MAX_ID_DIGITS
from functions.ingest.event import canary
from functions.ingest.event.attributes import (
    BaseAttributes,
    content_of,
    internal_event_name,
    read_base_attributes,
    text_within,
)
from functions.ingest.event.location import NamespaceReference, ProjectReference, location_of
from functions.ingest.event.numeric_id import numeric_id
from functions.ingest.message.batch import Batch
from functions.shared.catalog.context import Context
from functions.shared.catalog.registry import EventType, Registry
from functions.shared.grant import Grant, id_space_of
from functions.shared.identifier import IdSpace, time_of
from functions.shared.rejection import Rejection, quoted
from functions.shared.timestamp import months_before, parse_timestamp

MAX_GIVEN_BYTES = len(',"id":"0198f0a2-6b1c-7d3e-9a55-0d2f5c1b7e44","timestamp":"2026-11-20T15:00:59.936123Z"')
"""Bytes that a rejected event gains when the missing id and time are added to it."""
_MAX_TIME_AHEAD = timedelta(days=1)
NO_IDS = frozenset({0, 2**128 - 1})  # the nil and the max UUID, which programs send when they have no id


class Event(msgspec.Struct, gc=False):
    """An event that can be accepted.

    Attributes:
        raw: JSON as received.
        id: stored id. See `Batch.stored_id`.
        time_is_assigned: whether the event has an id but no timestamp; the timestamp is then the id's, or received-at.
        namespace: namespace reference of the event.
        explicit_path: traversal path of the event's or its project's namespace, if the event has one; after a move the
            path to which the namespace or project moved.
    """

    raw: msgspec.Raw
    type: EventType
    id: UUID
    timestamp: datetime
    time_is_assigned: bool
    user_id: int
    username: str | None
    namespace: NamespaceReference
    project: ProjectReference
    explicit_path: str | None

    def context(self, content: dict[str, Any] | None = None) -> Context:
        """Returns the context that transformations see. See `Context`.

        Args:
            content: decoded event, if it was decoded before.

        Raises:
            Rejection: the event contains a value that can't be stored.
        """
        if content is None:
            content = content_of(self.raw)
        context = Context(content)
        additional = content.get("additional_properties")
        if additional:
            context.update(additional)
            if len(context) != len(content) + len(additional):
                context = _merged(content, additional)
        context["user_id"] = self.user_id
        if self.project.id is not None:
            context["project_id"] = self.project.id
        if self.namespace.id is not None:
            context["namespace_id"] = self.namespace.id
        return context


class StorableTimes(msgspec.Struct, frozen=True):
    """The timestamps that have a partition, and will keep it for a while.

    Attributes:
        earliest: oldest storable timestamp.
        latest: newest storable timestamp.
    """

    earliest: datetime
    latest: datetime
    retention_months: int

    def require(self, timestamp: datetime) -> None:
        """Checks that a timestamp is storable.

        Raises:
            Rejection: the timestamp is too old or too far ahead (`timestamp_out_of_range`).
        """
        if self.earliest <= timestamp <= self.latest:
            return
        is_old = timestamp < self.earliest
        reason = f"over {self.retention_months} months old" if is_old else "more than a day in the future"
        raise Rejection("timestamp_out_of_range", f"The time {timestamp:%Y-%m-%dT%H:%M:%SZ} is {reason}.")


@lru_cache(maxsize=256)  # transformations may give each event of a batch a different time
def storable_times(received_at: datetime, retention_months: int) -> StorableTimes:
    """Returns the storable timestamps for events received at `received_at`."""
    return StorableTimes(months_before(received_at, retention_months), received_at + _MAX_TIME_AHEAD, retention_months)


class AcceptanceRules(msgspec.Struct, eq=False):
    """The rules for accepting the events of a batch.

    Attributes:
        is_canary: whether the events are canaries, which have one user and place, whatever they say.
        grant_restricts: whether the grant of the sender restricts what the sender may write.
        id_space: maps sent ids to stored ids; None if sent ids are stored unchanged.
        event_types: event types by name.
        max_event_bytes: size limit of one event.
    """

    batch: Batch
    sender: Grant
    is_canary: bool
    grant_restricts: bool
    id_space: IdSpace | None
    event_types: Mapping[str, EventType]
    times: StorableTimes
    max_event_bytes: int


def acceptance_rules(batch: Batch, registry: Registry, retention_months: int) -> AcceptanceRules:
    """Returns the acceptance rules for a batch."""
    times = storable_times(batch.received_at, retention_months)
    sender, is_canary = batch.sender, batch.sender.is_canary
    return AcceptanceRules(
        batch=batch,
        sender=sender,
        is_canary=is_canary,
        grant_restricts=not sender.is_unlimited,
        id_space=id_space_of(sender),
        event_types=canary.EVENT_TYPES if is_canary else registry.events,
        times=times,
        max_event_bytes=MAX_EVENT_BYTES + (MAX_GIVEN_BYTES if batch.replayed else 0),
    )


def read_attributes(
    raw: msgspec.Raw, index: int, rules: AcceptanceRules, attributes: BaseAttributes | None = None
) -> Event | None:
    """Returns the event at `index` of the batch; None for an internal event that no definition names.

    Only base attributes are checked; `content_of` checks the rest.

    Args:
        attributes: result of `attributes_of` for this event, if available.

    Raises:
        Rejection: the base attributes are malformed, or the sender may not send the event.
    """
    if len(raw) > rules.max_event_bytes:
        if _is_for_others(raw, rules.event_types):
            return None
        raise Rejection("too_large", f"The event has {len(raw)} bytes; at most {rules.max_event_bytes} are allowed.")
    if attributes is None:
        try:
            attributes = read_base_attributes(raw)
        except Rejection:
            if _is_for_others(raw, rules.event_types):
                return None
            raise
    try:
        return _event(attributes, raw, index, rules)
    except Rejection:
        content_of(raw)  # report unstorable text before any other fault
        raise


def _is_for_others(raw: msgspec.Raw, event_types: Mapping[str, EventType]) -> bool:
    """Whether the event is an internal event that no definition names; other trackers define its content."""
    name = internal_event_name(raw)
    return name is not None and name not in event_types


def _event(attributes: BaseAttributes, raw: msgspec.Raw, index: int, rules: AcceptanceRules) -> Event | None:
    event_type = rules.event_types.get(attributes.event)
    if event_type is None:
        if attributes.additional_properties is not None:
            return None
        raise Rejection("unknown_event", f"No definition names the event {quoted(attributes.event)}.")
    if event_type.deprecated:
        raise Rejection("deprecated_event", f"The event {event_type.name} is no longer accepted.")
    own_id, own_time = attributes.id, _own_time(attributes, raw)
    if own_id is not None and own_id.int in NO_IDS:
        require_id(own_id)
    timestamp = own_time or (own_id and time_of(own_id)) or rules.batch.received_at
    times, sender, user = rules.times, rules.sender, attributes.user
    if not times.earliest <= timestamp <= times.latest:
        times.require(timestamp)
    if rules.is_canary:
        user_id, username, location = canary.USER_ID, None, canary.LOCATION
    else:
        user_id = _user_id(attributes, sender.sub)
        username = text_within(user.username, "user.username", "invalid_user") if user else None
        location = location_of(
            attributes.namespace,
            attributes.namespace_path,
            attributes.namespace_id,
            attributes.project,
            attributes.project_id,
            attributes.project_path,
        )
    explicit_path = location.explicit_path
    if rules.grant_restricts:
        sender.require_writable(user_id, explicit_path)
    return Event(
        raw=raw,
        type=event_type,
        id=own_id if own_id and rules.id_space is None else rules.batch.stored_id(own_id, index, rules.id_space),
        timestamp=timestamp,
        time_is_assigned=own_id is not None and own_time is None,
        user_id=user_id,
        username=username,
        namespace=location.namespace,
        project=location.project,
        explicit_path=explicit_path,
    )


def require_id(sent_id: UUID) -> None:
    """Checks that `sent_id` can be an event's id.

    Raises:
        Rejection: `sent_id` is the nil or the max UUID (`invalid_id`).
    """
    if sent_id.int in NO_IDS:
        raise Rejection("invalid_id", "The nil and max UUIDs can't be event ids.")


def require_user_id(value: Any) -> int:
    """Returns `value` if it is a valid user id.

    Raises:
        Rejection: `value` is not a positive 64-bit integer (`invalid_user`).
    """
    return numeric_id(value, "The user's id", "invalid_user")


def sent_time(attributes: BaseAttributes) -> Any:
    """Returns the time that the event was sent with; None if it has none."""
    if attributes.timestamp is None and attributes.additional_properties is not None:
        return attributes.additional_properties.timestamp
    return attributes.timestamp


def _merged(content: dict[str, Any], additional: dict[str, Any]) -> Context:
    """Returns the context of an event whose additional properties repeat a top-level key. The top-level value wins."""
    own = {key: value for key, value in content.items() if value is not None}
    return Context(content | additional | own)


def _own_time(attributes: BaseAttributes, raw: msgspec.Raw) -> datetime | None:
    value = attributes.timestamp
    if type(value) is datetime and value.tzinfo is UTC:  # most events
        return value
    value = sent_time(attributes)
    if value is None or (type(value) is datetime and value.tzinfo is UTC):
        return value
    if type(value) is datetime:  # without an offset, or with another
        value = sent_time(read_base_attributes(raw))  # as a text, for the message
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise Rejection("invalid_timestamp", f"timestamp: {error}.") from error


def _user_id(attributes: BaseAttributes, sub: str) -> int:
    if attributes.user_id is not None:
        user_id = numeric_id(attributes.user_id, "user_id", "invalid_user")
        if attributes.user is not None and numeric_id(attributes.user.id, "user.id", "invalid_user") != user_id:
            raise Rejection("invalid_user", "user.id and user_id name different users.")
        return user_id
    if attributes.user is not None:
        return numeric_id(attributes.user.id, "user.id", "invalid_user")
    if not sub:
        raise Rejection("invalid_user", "The event names no user.")
    is_number = sub.isascii() and sub.isdecimal() and len(sub) <= MAX_ID_DIGITS
    return require_user_id(int(sub) if is_number else None)
