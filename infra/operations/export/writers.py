"""Writers of events, one for each format."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Protocol

from functions.graphql.export.events import ExportedEvent
from functions.graphql.export.formats import csv_header, csv_lines, ndjson_lines
from infra.operations.export.output import CountedOutput
from infra.operations.export.parquet import ParquetWriter


class Format(StrEnum):
    """Formats of an export."""

    csv = "csv"
    ndjson = "ndjson"
    parquet = "parquet"


class Writer(Protocol):
    """Writes events to a file."""

    def write(self, events: Sequence[ExportedEvent]) -> None:
        """Writes the events."""

    def finish(self) -> None:
        """Writes what the format has at the end."""


class LineWriter:
    """Writes a header and lines."""

    def __init__(self, output: CountedOutput, header: bytes, lines: Callable[[Sequence[ExportedEvent]], bytes]) -> None:
        self._output = output
        self._lines = lines
        output.write(header)

    def write(self, events: Sequence[ExportedEvent]) -> None:
        """See `Writer.write`."""
        self._output.write(self._lines(events))

    def finish(self) -> None:
        """See `Writer.finish`."""


def writer(kind: Format, output: CountedOutput, *, spreadsheet: bool) -> Writer:
    """Returns the writer of a format.

    Args:
        spreadsheet: see `csv_lines`; for CSV only.

    Raises:
        ExportError: Parquet's library is not installed, or the file can't be written.
    """
    if kind is Format.csv:
        return LineWriter(output, csv_header(), partial(csv_lines, spreadsheet=spreadsheet))
    if kind is Format.parquet:
        return ParquetWriter(output)
    return LineWriter(output, b"", ndjson_lines)
