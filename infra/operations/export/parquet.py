"""Writes events as Parquet, with pyarrow (the extra `parquet`)."""

from collections.abc import Sequence
from typing import Any

from functions.graphql.export.events import COLUMNS, ExportedEvent
from infra.operations.export.error import ExportError
from infra.operations.export.output import CountedOutput

ROWS_PER_GROUP = 20_000
"""Events of one row group, which are in memory at once."""

_MISSING = "Parquet needs pyarrow: install it with `uv pip install pyarrow`, or export as csv or ndjson"


class ParquetWriter:
    """Writes row groups.

    Ids of users and projects are signed 64-bit integers, times are microseconds in UTC, and payloads are JSON as text.

    Raises:
        ExportError: pyarrow is not installed.
    """

    def __init__(self, output: CountedOutput) -> None:
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise ExportError(_MISSING) from error
        self._arrow = arrow
        self._schema = _schema(arrow)
        self._rows: list[ExportedEvent] = []
        self._file = parquet.ParquetWriter(arrow.PythonFile(output, mode="w"), self._schema, compression="zstd")

    def write(self, events: Sequence[ExportedEvent]) -> None:
        """See `Writer.write`."""
        self._rows += events
        if len(self._rows) >= ROWS_PER_GROUP:
            self._write_group()

    def finish(self) -> None:
        """See `Writer.finish`."""
        if self._rows:
            self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        columns = dict(zip(COLUMNS, map(list, zip(*self._rows, strict=True)), strict=True))
        columns["id"] = list(map(str, columns["id"]))
        self._file.write_table(self._arrow.table(columns, schema=self._schema))
        self._rows = []


def _schema(arrow: Any) -> Any:
    name = arrow.dictionary(arrow.int16(), arrow.string())
    types = {
        "id": arrow.string(),
        "timestamp": arrow.timestamp("us", tz="UTC"),
        "event": name,
        "feature": name,
        "user_id": arrow.int64(),
        "username": arrow.string(),
        "namespace_path": arrow.string(),
        "namespace_full_path": arrow.string(),
        "project_id": arrow.int64(),
        "payload": arrow.string(),
    }
    optional = ("username", "namespace_path", "namespace_full_path", "project_id")
    return arrow.schema([arrow.field(column, types[column], nullable=column in optional) for column in COLUMNS])
