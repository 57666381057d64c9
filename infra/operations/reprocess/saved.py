"""The file of what events were before, by which a run is undone.

Each line is one event: its `id` and `timestamp`, and `before` and `after`, each with `payload` and `project_id`. A line
is on the disk before its event changes, so some lines may be of events that did not change after all.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from functions.shared.postgres import Connection
from infra.operations.reprocess.judgement import Judgement
from infra.operations.reprocess.stored_events import LOCKED

_PUT_BACK = """
    UPDATE ai_usage_events AS event
    SET payload = saved.payload, project_id = saved.project_id
    FROM unnest(
        %(ids)s::uuid[], %(timestamps)s::timestamptz[], %(payloads)s::jsonb[], %(projects)s::bigint[],
        %(present_payloads)s::jsonb[], %(present_projects)s::bigint[]
    ) AS saved (id, timestamp, payload, project_id, present_payload, present_project_id)
    WHERE event.id = saved.id
      AND event.timestamp = saved.timestamp
      AND event.payload = saved.present_payload
      AND event.project_id IS NOT DISTINCT FROM saved.present_project_id
"""

_COUNT = """
    SELECT count(*) FILTER (WHERE event.payload = saved.present_payload
                              AND event.project_id IS NOT DISTINCT FROM saved.present_project_id),
           count(*) FILTER (WHERE event.payload = saved.payload
                              AND event.project_id IS NOT DISTINCT FROM saved.project_id)
    FROM unnest(
        %(ids)s::uuid[], %(timestamps)s::timestamptz[], %(payloads)s::jsonb[], %(projects)s::bigint[],
        %(present_payloads)s::jsonb[], %(present_projects)s::bigint[]
    ) AS saved (id, timestamp, payload, project_id, present_payload, present_project_id)
    JOIN ai_usage_events AS event ON event.id = saved.id AND event.timestamp = saved.timestamp
"""


class SavedError(Exception):
    """The file can't be written or read; the message says why."""


class Contents(msgspec.Struct, frozen=True):
    """What a run changes of an event."""

    payload: msgspec.Raw
    project_id: int | None


class SavedEvent(msgspec.Struct, frozen=True):
    """A line of the file."""

    id: UUID
    timestamp: datetime
    before: Contents
    after: Contents


class Undone(msgspec.Struct):
    """What an undo found.

    Attributes:
        put_back: events that are as the run left them, and get their earlier contents.
        earlier: events that have their earlier contents already.
        different: events that were changed, moved to another time or deleted since.
    """

    put_back: int = 0
    earlier: int = 0
    different: int = 0

    def __add__(self, more: "Undone") -> "Undone":
        return Undone(self.put_back + more.put_back, self.earlier + more.earlier, self.different + more.different)


class Saving:
    """Appends lines to the file, which only its owner may read.

    Raises:
        SavedError: the file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise SavedError(f"{path} can't be written: {error.strerror}") from error

    def save(self, judgements: Iterable[Judgement]) -> None:
        """Writes what events are before they change, and waits until it is on the disk.

        Raises:
            SavedError: the file can't be written.
        """
        lines = b"".join(map(_line, judgements))
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)
        except OSError as error:
            raise SavedError(f"{self._path} can't be written: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def _line(judged: Judgement) -> bytes:
    event = judged.event
    before = Contents(msgspec.Raw(event.payload.encode()), event.project_id)
    after = Contents(msgspec.Raw(judged.encoded), judged.project_id)
    return msgspec.json.encode(SavedEvent(event.id, event.timestamp, before, after)) + b"\n"


def read_saved(path: Path) -> Iterator[SavedEvent]:
    """Yields the events of a file. The last line is left out if its writer was killed within it.

    Raises:
        SavedError: the file can't be read, or a line is none of this kind.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - for the messages
                if not line.endswith(b"\n"):
                    return
                yield _decoder.decode(line)
    except OSError as error:
        raise SavedError(f"{path} can't be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise SavedError(f"line {number} of {path} is no saved event: {error}") from error
    except msgspec.DecodeError as error:
        raise SavedError(f"line {number} of {path} is no JSON: {error}") from error


def undo(connection: Connection, some: Sequence[SavedEvent], *, apply: bool) -> Undone:
    """Puts the earlier contents of some events back. Call it within a transaction; it may be repeated.

    An event that is no longer as the run left it stays as it is.

    Args:
        apply: whether to write; otherwise only count.
    """
    lines = {(one.timestamp, one.id): one for one in some}  # a run that was killed may have saved an event twice
    values = _values([one for _, one in sorted(lines.items(), reverse=True)])  # as others lock rows
    connection.execute(LOCKED, values)
    row = connection.execute(_COUNT, values).fetchone()
    put_back, earlier = row if row is not None else (0, 0)
    if apply:
        connection.execute(_PUT_BACK, values)
    return Undone(put_back, earlier, len(lines) - put_back - earlier)


def _values(events: Sequence[SavedEvent]) -> dict[str, Any]:
    return {
        "ids": [one.id for one in events],
        "timestamps": [one.timestamp for one in events],
        "payloads": [bytes(one.before.payload).decode() for one in events],
        "projects": [one.before.project_id for one in events],
        "present_payloads": [bytes(one.after.payload).decode() for one in events],
        "present_projects": [one.after.project_id for one in events],
    }


_decoder = msgspec.json.Decoder(SavedEvent)
