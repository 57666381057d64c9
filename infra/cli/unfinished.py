"""What was interrupted and can go on, with the commands that do so."""

import shlex
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from functions.shared.postgres import Connection
from infra.cli.terminal import format_moment
from infra.operations.refill import record as refills
from infra.operations.reprocess import record as reprocessings

_EVENT_NAMES = "SELECT name FROM event_types WHERE id = ANY(%s) ORDER BY id"

_OPTIONS = {
    "start": "--start",
    "end": "--end",
    "namespace": "--namespace",
    "users": "--user",
    "may_lack": "--may-lack",
    "may_drop": "--may-drop",
}


def unfinished(connection: Connection) -> Iterator[RenderableType]:
    """Yields a table of refills and runs that are not finished, and their commands; nothing if there are none."""
    table = Table("what", "asked for by", "since", "events", title="Unfinished, or under way", title_justify="left")
    commands: list[str] = []
    refill = refills.unfinished(connection)
    if refill is not None:
        table.add_row("refill", "", format_moment(refill.begun_at), f"{refill.events:,} restored")
        commands.append("usage-events refill")
    for run in reprocessings.unfinished(connection):
        table.add_row(f"reprocess, run {run.number:,}", run.requested_by, format_moment(run.begun_at), _done(run))
        commands.append(shlex.join(["usage-events", "reprocess", *_arguments(connection, run)]))
    if commands:
        yield table
        yield from (Text(f"Go on: {command}", no_wrap=True, overflow="ignore") for command in commands)


def _done(run: reprocessings.UnfinishedRun) -> str:
    return f"{run.counts.get('changed', 0):,} changed" if run.kind == "apply" else "an undo"


def _arguments(connection: Connection, run: reprocessings.UnfinishedRun) -> list[str]:
    """Returns the options with which the run was asked for. The file for earlier contents is not recorded."""
    request: dict[str, Any] = run.request
    if run.kind == "undo":
        return ["--undo", request["file"], "--apply"]
    names = [name for (name,) in connection.execute(_EVENT_NAMES, [request["events"]])]
    arguments = [word for name in names for word in ("--event", name)]
    for key, option in _OPTIONS.items():
        given = request.get(key) or []
        values = given if isinstance(given, list) else [given]
        arguments += [word for value in values for word in (option, str(value))]
    return [*arguments, *(["--once"] if request["once"] else []), "--apply", "--save", "FILE"]
