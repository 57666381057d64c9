"""Builds the row of a rejected event, with everything that a replay needs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.event.event import require_id
from functions.ingest.message.batch import Batch
from functions.ingest.postgres.events import RejectedRow
from functions.shared.grant import id_space_of
from functions.shared.identifier import derived_id
from functions.shared.rejection import Rejection
from functions.shared.timestamp import format_timestamp

_MAX_BODY_CHARACTERS = 1024 * 1024  # SQS allows no larger message


def rejected_row(raw: msgspec.Raw, index: int, batch: Batch, rejection: Rejection) -> RejectedRow:
    """Returns the rejected row of the event at `index`; a replayed event keeps its row."""
    replayed = batch.replayed
    content = _content(raw, index, batch)
    own_id = derived_id(batch.received_at, f"rejected/{batch.id}", index)
    return RejectedRow(
        # If an unreadable message now turns out to hold several events, the first one keeps the row.
        id=replayed.rejected_id if replayed and index == 0 else own_id,
        received_at=batch.received_at,
        source="sqs" if batch.grant is None else "https",
        code=rejection.code,
        message=_storable(rejection.message),
        body=_storable(_body_with_assigned_values(raw, content, index, batch))[:_MAX_BODY_CHARACTERS],
        sender_grant=batch.grant,
        attempts=replayed.attempts + 1 if replayed else 1,
        event_id=None if content is None else _event_id(content, index, batch),
        request_id=batch.request_id,
    )


def _storable(text: str) -> str:
    """Replaces characters that PostgreSQL can't store: U+0000 and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _content(raw: msgspec.Raw, index: int, batch: Batch) -> dict[str, Any] | None:
    """Returns the decoded event; None if the text is not an event."""
    if index in batch.refused:
        return None
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _event_id(content: Mapping[str, Any], index: int, batch: Batch) -> UUID | None:
    """Returns the id under which the event would be stored; None if its own id is invalid."""
    sent_id = None
    if content.get("id") is not None:
        try:
            sent_id = msgspec.convert(content["id"], UUID)
            require_id(sent_id)
        except (msgspec.ValidationError, Rejection):
            return None
    return batch.stored_id(sent_id, index, id_space_of(batch.sender))


def _body_with_assigned_values(raw: msgspec.Raw, content: Mapping[str, Any] | None, index: int, batch: Batch) -> str:
    """Returns the event as received; an object without an id gets the assigned id and, if needed, the assigned time.

    An event with an id but no timestamp keeps its text: the assigned time must not look like the event's own, because a
    replay must still look for the id in other months.
    """
    text = bytes(raw).decode(errors="replace")
    if content is None or content.get("id") is not None:
        return text
    given = {"id": str(batch.event_id(index))}
    if not _names_its_time(content):
        given["timestamp"] = format_timestamp(batch.received_at)
    separator = "," if content else ""
    return text.rstrip()[:-1] + separator + msgspec.json.encode(given).decode()[1:]


def _names_its_time(content: Mapping[str, Any]) -> bool:
    additional = content.get("additional_properties")
    own = [content.get("timestamp"), additional.get("timestamp") if isinstance(additional, dict) else None]
    return own != [None, None]
