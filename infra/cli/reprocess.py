"""`usage-events reprocess`: runs transformations again on stored events."""

import getpass
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from functions.ingest.contract import MAX_ID
from functions.shared import settings
from functions.shared.postgres import connect
from functions.shared.timestamp import format_timestamp, utc_now
from infra.cli.definitions import load_definitions
from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, errors_reported, format_moment, past_moment, printable

if TYPE_CHECKING:
    from functions.shared.catalog.registry import Registry
    from infra.operations.reprocess.findings import Findings
    from infra.operations.reprocess.saved import Undone
    from infra.operations.reprocess.stored_events import Selection

_SECONDS_BETWEEN_MESSAGES = 2
_MAX_EXAMPLE_CHARACTERS = 60
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_AHEAD = timedelta(days=2)  # an event may be a day ahead of the clock

Events = Annotated[list[str] | None, typer.Option("--event", help="Events of this name; repeatable.")]
Features = Annotated[
    list[str] | None, typer.Option("--feature", help="Events of this feature that are not deprecated; repeatable.")
]
Start = Annotated[
    str | None,
    typer.Option(help="First day in UTC, or a time, or an age like 7d; default: the oldest that PostgreSQL has."),
]
End = Annotated[
    str | None, typer.Option(help="Last day in UTC, or a time or age before which events are; default: all.")
]
Namespace = Annotated[str | None, typer.Option(help="Only this namespace with all below it, like 27/28/.")]
Users = Annotated[
    list[int] | None,
    typer.Option("--user", min=1, max=MAX_ID, help="Only events of the user with this id; repeatable."),
]
MayLack = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Context key that a transformation may look for in vain; repeatable."),
]
MayDrop = Annotated[
    list[str] | None, typer.Option(metavar="KEY", help="Declared payload key that events may lose; repeatable.")
]
Once = Annotated[bool, typer.Option("--once", help="Change events too that another run would change again.")]
Apply = Annotated[bool, typer.Option("--apply", help="Change the events; without it nothing changes.")]
Save = Annotated[
    Path | None, typer.Option("--save", help="File that gets what the events were before; needed by --apply.")
]
Undo = Annotated[
    Path | None, typer.Option("--undo", help="File of a former run: put back what its events were before.")
]
By = Annotated[str | None, typer.Option("--by", help="Who asks for it, for the record; default: you.")]


def reprocess(
    *,
    event: Events = None,
    feature: Features = None,
    start: Start = None,
    end: End = None,
    namespace: Namespace = None,
    user: Users = None,
    may_lack: MayLack = None,
    may_drop: MayDrop = None,
    once: Once = False,
    apply: Apply = False,
    save: Save = None,
    undo: Undo = None,
    by: By = None,
) -> None:
    """Run transformations again on stored events, or show what that would change.

    The payload of an event and its project follow the definitions of this checkout; its time, user and namespace stay.
    A transformation sees what is stored of an event. What it can not make without what was not stored stays as it is.
    """
    if undo is not None:
        if event or feature or save:
            raise typer.BadParameter("an undo takes its events from the file", param_hint="--undo")
        _undo(undo, by or getpass.getuser(), apply=apply)
        return
    if apply and save is None:
        raise typer.BadParameter("name a file with --save, by which the run can be undone", param_hint="--apply")
    registry = load_definitions()
    events = _event_ids(registry, event or [], feature or [])
    use_local_stack()
    with errors_reported():
        selection = _selection(events, start, end, namespace, tuple(user or ()))
        request = {
            "events": sorted(events),
            "start": start,
            "end": end,
            "namespace": namespace,
            "may_lack": sorted(may_lack or []),
            "may_drop": sorted(may_drop or []),
            "once": once,
        }
        if selection.users:  # without them, a run of an earlier release goes on
            request["users"] = sorted(selection.users)
        _run(registry, selection, request, save if apply else None, by or getpass.getuser())


def _run(
    registry: "Registry", selection: "Selection", request: dict[str, Any], save: Path | None, requested_by: str
) -> None:
    from infra.operations.reprocess.judgement import Rules
    from infra.operations.reprocess.run import Reprocess
    from infra.operations.reprocess.saved import Saving

    rules = Rules(frozenset(request["may_lack"]), frozenset(request["may_drop"]), request["once"])
    run = Reprocess(settings.database_url(), registry, rules, _Progress())
    if save is None:
        _show(registry, selection, run.preview(selection))
        typer.echo("Nothing was changed. To change the events, repeat the command with --apply --save FILE.")
        return
    with closing(Saving(save)) as saving:
        record, findings, total = run.apply(selection, request, requested_by, saving)
    if record.was_interrupted:
        typer.echo(f"Went on with run {record.number:,} at {format_moment(record.position.timestamp)}.")
    _show(registry, selection, findings)
    typer.echo(
        f"Run {record.number:,} changed {total['changed']:,} events in all. What they were before is in {save};"
        f" `usage-events reprocess --undo {save} --apply` puts it back."
    )


def _undo(file: Path, requested_by: str, *, apply: bool) -> None:
    from infra.operations.reprocess.run import undo_saved

    use_local_stack()
    with errors_reported():
        undone = undo_saved(settings.database_url(), file, requested_by, apply=apply)
    for line in _undone_lines(undone, apply=apply):
        typer.echo(line)


def _undone_lines(undone: "Undone", *, apply: bool) -> Iterator[str]:
    yield f"{undone.put_back:,} events {'are' if apply else 'would be'} as they were before the run."
    yield f"{undone.earlier:,} events were so already."
    yield f"{undone.different:,} events were changed or removed since the run, and stay as they are."
    if not apply:
        yield "Nothing was changed. To change the events, repeat the command with --apply."


def _event_ids(registry: "Registry", names: list[str], features: list[str]) -> tuple[int, ...]:
    ids = set[int]()
    for name in names:
        if name not in registry.events:
            raise typer.BadParameter(f"no definition names the event {name!r}", param_hint="--event")
        ids.add(registry.events[name].id)
    for name in features:
        if name not in registry.features:
            raise typer.BadParameter(f"no definition names the feature {name!r}", param_hint="--feature")
        ids.update(registry.features[name].event_ids.values())
    if not ids:
        raise typer.BadParameter("name an event or a feature", param_hint="--event")
    return tuple(sorted(ids))


def _selection(
    events: tuple[int, ...], start: str | None, end: str | None, namespace: str | None, users: tuple[int, ...]
) -> "Selection":
    """Returns the selected events of the months that PostgreSQL has.

    Raises:
        ReprocessError: the time that was asked for begins before.
    """
    from functions.shared.grant import is_traversal_path
    from infra.operations.reprocess.run import LIMITS
    from infra.operations.reprocess.stored_events import Selection, first_kept_moment
    from infra.operations.reprocess.transaction import ReprocessError

    if namespace is not None and not is_traversal_path(namespace):
        raise typer.BadParameter(f"{namespace!r} is not like 27/28/", param_hint="--namespace")
    first = past_moment(start, "--start") if start else None
    last = _end(end) if end else utc_now() + _MOST_AHEAD
    with connect(settings.database_url(), LIMITS) as connection:
        kept = first_kept_moment(connection) or last
    if first is not None and first < kept:
        raise ReprocessError(
            f"PostgreSQL has no events before {kept:%Y-%m-%d}, and only its events can be reprocessed:"
            f" begin with --start {kept:%Y-%m-%d}, or leave --start out"
        )
    if first is None and settings.clickhouse_url() is not None:
        typer.echo(f"Events before {kept:%Y-%m-%d} are only in ClickHouse, and stay as they are.", err=True)
    return Selection(events, first or kept, last, namespace, users)


def _end(text: str) -> datetime:
    moment = past_moment(text, "--end")
    return moment + timedelta(days=1) if _DAY.fullmatch(text) else moment


class _Progress:
    """Tells every few seconds how far a run is."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, findings: "Findings", until: datetime) -> None:
        now = time.monotonic()
        if now - self._told_at >= _SECONDS_BETWEEN_MESSAGES:
            self._told_at = now
            typer.echo(f"{findings.read:,} events, back to {until.astimezone(UTC):%Y-%m-%d} …", err=True)


def _show(registry: "Registry", selection: "Selection", findings: "Findings") -> None:
    names = ", ".join(registry.by_id[number].name for number in selection.events)
    typer.echo(
        f"Read {findings.read:,} events of {names},"
        f" from {format_timestamp(selection.start)} until before {format_timestamp(selection.end)}."
    )
    tables = [_outcomes(findings), _keys(findings), _reasons(findings)]
    for table in tables:
        if table.row_count:
            console().print(table)


def _outcomes(findings: "Findings") -> Table:
    table = Table("what becomes of them", "events", title="Events", title_justify="left")
    for outcome, number in sorted(findings.outcomes.items()):
        table.add_row(outcome.value, f"{number:,}")
    if findings.gone:
        table.add_row("were deleted meanwhile", f"{findings.gone:,}")
    return table


def _keys(findings: "Findings") -> Table:
    table = Table(
        "key", "added", "removed", "changed", "example: before", "after", title="Payload keys", title_justify="left"
    )
    for key, changes in sorted(findings.keys.items()):
        numbers = [f"{number:,}" for number in (changes.added, changes.removed, changes.changed)]
        before = "\n".join(_value(example.before) for example in changes.examples)
        after = "\n".join(_value(example.after) for example in changes.examples)
        table.add_row(printable(key), *numbers, before, after)
    return table


def _reasons(findings: "Findings") -> Table:
    table = Table("why", "events", "", title="Why events stay as they are", title_justify="left")
    for code, number in sorted(findings.rejections.items()):
        table.add_row(f"would be rejected: {code}", f"{number:,}", printable(findings.messages[code]))
    for key, number in sorted(findings.missing.items()):
        hint = f"--may-lack {key} if an event may lack it"
        table.add_row(f"the context has no {printable(key)}", f"{number:,}", printable(hint))
    for key, number in sorted(findings.lost.items()):
        table.add_row(f"would lose {printable(key)}", f"{number:,}", printable(f"--may-drop {key} if it may go"))
    for name, number in sorted(findings.kept.items()):
        table.add_row(f"another {name}", f"{number:,}", "base attributes stay; the rest of the event may change")
    return table


def _value(value: Any) -> str:
    if value is msgspec.UNSET:
        return "-"
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MAX_EXAMPLE_CHARACTERS else f"{text[: _MAX_EXAMPLE_CHARACTERS - 1]}…"
