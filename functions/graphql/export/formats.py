"""Writes exported events as CSV, and as lines of JSON."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from functions.graphql.export.events import COLUMNS, ExportedEvent
from functions.shared.timestamp import format_timestamp

# A spreadsheet takes a cell that begins so for a formula.
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_header() -> bytes:
    """The first line of a CSV file: the names of the columns."""
    return _csv([COLUMNS])


def csv_lines(events: Iterable[ExportedEvent], *, spreadsheet: bool = False) -> bytes:
    """The lines of the events as RFC 4180 describes them, in UTF-8. A missing value is an empty field.

    Args:
        spreadsheet: writes an apostrophe before names that a spreadsheet would take for a formula. Names are what
            senders say; ids, times and payloads never begin like one.
    """
    made = (event._replace(timestamp=format_timestamp(event.timestamp)) for event in events)  # type: ignore[arg-type]
    return _csv(map(_without_formulas, made) if spreadsheet else made)


def ndjson_lines(events: Iterable[ExportedEvent]) -> bytes:
    """A line of JSON for each event, an object with the columns as keys. The payload is JSON itself."""
    return b"".join(_ndjson(events))


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _without_formulas(event: ExportedEvent) -> ExportedEvent:
    return event._replace(username=_as_text(event.username), namespace_full_path=_as_text(event.namespace_full_path))


def _as_text(name: str | None) -> str | None:
    return f"'{name}" if name is not None and name.startswith(_BEGINS_FORMULA) else name


def _ndjson(events: Iterable[ExportedEvent]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for event in events:
        line = event._asdict()
        line["payload"] = msgspec.Raw(event.payload.encode())
        yield encode(line)
        yield b"\n"
