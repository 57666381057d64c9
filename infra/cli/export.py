"""`usage-events export`: writes events to a file."""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions.shared import settings
from functions.shared.counted import counted
from functions.shared.timestamp import utc_now
from infra.cli.definitions import load_definitions
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported, printable
from infra.operations.export.sources import Source
from infra.operations.export.writers import Format

if TYPE_CHECKING:
    from functions.graphql.query.selection import Selection
    from infra.operations.export.export import Exported
    from infra.operations.export.output import CountedOutput

_SECONDS_BETWEEN_MESSAGES = 2
_MEGABYTE = 1_000_000
_SUFFIXES = {".csv": Format.csv, ".ndjson": Format.ndjson, ".jsonl": Format.ndjson, ".parquet": Format.parquet}

_OPTIONS = {
    "startDate": "--start",
    "endDate": "--end",
    "events": "--event",
    "features": "--feature",
    "not.events": "--not-event",
    "not.features": "--not-feature",
    "userIds": "--user",
    "projectIds": "--project",
    "payload": "--payload",
}

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write; - for standard output.")]
Kind = Annotated[
    Format | None, typer.Option("--format", help="Format of the file; default: by the file's suffix, else csv.")
]
Namespace = Annotated[
    str | None,
    typer.Option(help="Only this group with all below it, like gitlab-org or 27/28/, or this project, by full path."),
]
Start = Annotated[str | None, typer.Option(help="First day in UTC, like 2026-11-20; default: six days before the end.")]
End = Annotated[str | None, typer.Option(help="Last day in UTC; default: today.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="Only events of this name; repeatable.")]
Features = Annotated[list[str] | None, typer.Option("--feature", help="Only events of this feature; repeatable.")]
WithoutEvents = Annotated[list[str] | None, typer.Option("--not-event", help="No events of this name; repeatable.")]
WithoutFeatures = Annotated[
    list[str] | None, typer.Option("--not-feature", help="No events of this feature; repeatable.")
]
Users = Annotated[list[str] | None, typer.Option("--user", help="Only events of the user with this id; repeatable.")]
Projects = Annotated[
    list[str] | None, typer.Option("--project", help="Only events of the project with this id; repeatable.")
]
Payload = Annotated[
    list[str] | None,
    typer.Option(help='Only payloads that pass this filter, like \'{"path": "language", "eq": "ruby"}\'; repeatable.'),
]
From = Annotated[
    Source,
    typer.Option("--source", help="Store to read; auto: PostgreSQL for the months that it has, ClickHouse before."),
]
Spreadsheet = Annotated[
    bool,
    typer.Option("--spreadsheet-safe", help="In CSV, write ' before names that a spreadsheet takes for a formula."),
]


def export(
    *,
    output: Output = Path("-"),
    kind: Kind = None,
    namespace: Namespace = None,
    start: Start = None,
    end: End = None,
    event: Events = None,
    feature: Features = None,
    not_event: WithoutEvents = None,
    not_feature: WithoutFeatures = None,
    user: Users = None,
    project: Projects = None,
    payload: Payload = None,
    source: From = Source.auto,
    spreadsheet: Spreadsheet = False,
) -> None:
    """Export events to a file, newest first, with the filters of GraphQL; by default those of the last seven days.

    The file gets its name when it is complete. An export that fails or is stopped leaves no file.
    """
    left_out = {"events": _enum_values(not_event), "features": _enum_values(not_feature)}
    given: dict[str, Sequence[str] | None] = {
        "startDate": [start] if start else None,
        "endDate": [end] if end else None,
        "events": _enum_values(event),
        "features": _enum_values(feature),
        "userIds": user,
        "projectIds": project,
        "payload": payload,
        "not": [json.dumps(left_out)] if any(left_out.values()) else None,
    }
    filters = {name: texts for name, texts in given.items() if texts}
    kind = kind or _SUFFIXES.get(output.suffix.lower(), Format.csv)
    use_local_stack()
    with errors_reported(), _stopped_by_sigterm():
        selection = _selection(namespace, filters)
        begin = time.monotonic()
        exported, size = _write(selection, output, kind, source, spreadsheet=spreadsheet)
    stores = " and ".join(dict.fromkeys(exported.sources)) or "no store"
    typer.echo(
        f"Exported {counted(exported.events, 'event')} from {stores}: {size / _MEGABYTE:,.1f} MB"
        f" in {time.monotonic() - begin:,.1f} s.",
        err=True,
    )


def _enum_values(names: list[str] | None) -> list[str] | None:
    return [name.upper() for name in names] if names else None


def _selection(namespace: str | None, filters: dict[str, Sequence[str]]) -> "Selection":
    from functions.graphql.query.errors import InvalidArgument
    from infra.operations.export.selection import selection_of

    try:
        return selection_of(settings.database_url(), load_definitions(), utc_now().date(), namespace, filters)
    except InvalidArgument as error:
        raise typer.BadParameter(printable(_with_options(str(error)))) from None


def _with_options(message: str) -> str:
    """Returns a message about filters with the names of options, where GraphQL has its own."""
    name = re.match(r"([\w.]+)(?:\[\d+\])?", message)
    if name is not None and name[1] in _OPTIONS:
        message = _OPTIONS[name[1]] + message[name.end() :]
    return message.replace("startDate", "--start")


def _write(
    selection: "Selection", path: Path, kind: Format, source: Source, *, spreadsheet: bool
) -> "tuple[Exported, int]":
    from infra.operations.export.export import EventExport
    from infra.operations.export.output import opened
    from infra.operations.export.writers import writer

    with opened(path) as output:
        exporter = EventExport(
            settings.database_url(), load_definitions(), settings.clickhouse_url(), source, _Progress(output)
        )
        exported = exporter.export(selection, writer(kind, output, spreadsheet=spreadsheet))
    return exported, output.size


class _Progress:
    """Tells every few seconds how far the export is."""

    def __init__(self, output: "CountedOutput") -> None:
        self._output = output
        self._told_at = time.monotonic()

    def __call__(self, exported: "Exported") -> None:
        now = time.monotonic()
        if now - self._told_at >= _SECONDS_BETWEEN_MESSAGES:
            self._told_at = now
            size = self._output.size / _MEGABYTE
            typer.echo(
                f"{counted(exported.events, 'event')}, {size:,.0f} MB, back to {exported.until:%Y-%m-%d} …", err=True
            )


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM end the block by an exception, so that it cleans up."""

    def stop(number: int, _: Any) -> None:
        sys.exit(128 + number)

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
