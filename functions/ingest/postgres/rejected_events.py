"""What is kept of an event that can't be stored: all it takes to send it again once it can."""

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

_MAX_BODY_CHARACTERS = 1024 * 1024  # characters; SQS takes no more


def rejected_row(raw: msgspec.Raw, index: int, batch: Batch, rejection: Rejection) -> RejectedRow:
    """The row of the event at `index` of the batch; of one that was replayed, the row that it has already."""
    replayed = batch.replayed
    content = _content(raw, index, batch)
    own_id = derived_id(batch.received_at, f"rejected/{batch.id}", index)
    return RejectedRow(
        # Where a message that could not be read holds several events by now, the first one takes its row.
        id=replayed.rejected_id if replayed and index == 0 else own_id,
        received_at=batch.received_at,
        source="sqs" if batch.grant is None else "https",
        code=rejection.code,
        message=_storable(rejection.message),
        body=_storable(_body_with_assigned_values(raw, content, index, batch))[:_MAX_BODY_CHARACTERS],
        sender_grant=batch.grant,
        attempts=replayed.attempts + 1 if replayed else 1,
        event_id=None if content is None else _event_id(content, index, batch),
    )


def _storable(text: str) -> str:
    """`text` with a mark in the place of what PostgreSQL can't keep: U+0000, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _content(raw: msgspec.Raw, index: int, batch: Batch) -> dict[str, Any] | None:
    """What the event holds; None of what is no event, and was given nothing."""
    if index in batch.refused:
        return None
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _event_id(content: Mapping[str, Any], index: int, batch: Batch) -> UUID | None:
    """The id under which the event would have been stored; None where its own is none."""
    sent_id = None
    if content.get("id") is not None:
        try:
            sent_id = msgspec.convert(content["id"], UUID)
            require_id(sent_id)
        except (msgspec.ValidationError, Rejection):
            return None
    return batch.stored_id(sent_id, index, id_space_of(batch.sender))


def _body_with_assigned_values(raw: msgspec.Raw, content: Mapping[str, Any] | None, index: int, batch: Batch) -> str:
    """The event as it came; an object that lacks an id has the one it was given at its end, and its time if that too.

    The time that an event with an id of its own was given is when it arrived. It stays out of the event, for it is no
    time of its own: whether the id is stored in another month is to be looked up at a replay as well.
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
