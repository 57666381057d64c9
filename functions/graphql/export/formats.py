"""Writes exported events as CSV, and as lines of JSON."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from functions.graphql.export.events import COLUMNS, ExportedEvent
from functions.shared.timestamp import format_timestamp

# A spreadsheet takes a cell that begins so for a formula.
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def csv_header() -> bytes:
    """The first line of a CSV file: the names of the columns."""
    return f"{','.join(COLUMNS)}\r\n".encode()


def csv_lines(events: Iterable[ExportedEvent], *, spreadsheet: bool = False) -> bytes:
    """The lines of the events as RFC 4180 describes them, in UTF-8. A missing value is an empty field.

    Args:
        spreadsheet: writes an apostrophe before names that a spreadsheet would take for a formula. Names are what
            senders say; ids, times and payloads never begin like one.
    """
    text = _as_text if spreadsheet else _unchanged
    return "".join(
        f"{event.id},{format_timestamp(event.timestamp)},{event.event},{event.feature},{event.user_id},"
        f"{_field(text(event.username))},{event.namespace_path or ''},{_field(text(event.namespace_full_path))},"
        f"{'' if event.project_id is None else event.project_id},{_field(event.payload)}\r\n"
        for event in events
    ).encode()


def ndjson_lines(events: Iterable[ExportedEvent]) -> bytes:
    """A line of JSON for each event, an object with the columns as keys. The payload is JSON itself."""
    return b"".join(_ndjson(events))


def _field(text: str | None) -> str:
    """A field of CSV, in quotes if it needs them. Python's module csv takes three times as long for payloads."""
    if text is None:
        return ""
    return f'"{text.replace('"', '""')}"' if _NEEDS_QUOTES.search(text) else text


def _unchanged(name: str | None) -> str | None:
    return name


def _as_text(name: str | None) -> str | None:
    return f"'{name}" if name is not None and name.startswith(_BEGINS_FORMULA) else name


def _ndjson(events: Iterable[ExportedEvent]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for event in events:
        line = event._asdict()
        line["payload"] = msgspec.Raw(event.payload.encode())
        yield encode(line)
        yield b"\n"
