"""`usage-events user` and `usage-events namespace`: erase and export everything that is stored of one of them."""

import getpass
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from functions.shared.catalog import registry
from functions.shared.counted import counted
from infra.cli.environment import use_local_stack
from infra.cli.namespace import app as namespace
from infra.cli.terminal import errors_reported, format_moment

if TYPE_CHECKING:
    from infra.operations.erasure.erase import Erased
    from infra.operations.erasure.subject import Subject

user = typer.Typer(help="Erase or export everything about a user.", no_args_is_help=True)

WAIT_SECONDS = 15 * 60
"""How long an erasure waits for others by default: longer than any function may run."""

UserId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ID", help="Id of the user.")]
Path_ = Annotated[str, typer.Argument(metavar="PATH", help="Traversal path of the namespace, like 27/28/.")]
By = Annotated[str | None, typer.Option("--by", help="Who asks for it, for the record; default: you.")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]
Wait = Annotated[int, typer.Option(min=1, help="Seconds to wait for open transactions and for a running sync.")]
Output = Annotated[Path, typer.Option(help="File to write; - for standard output.")]


@user.command("erase")
def erase_user(*, number: UserId, by: By = None, wait: Wait = WAIT_SECONDS, yes: Yes = False) -> None:
    """Erase a user: events, names and rejected events in both stores, and what is still on its way.

    Repeat the command if it was interrupted, or if it says that ClickHouse is still to do.
    """
    from infra.operations.erasure.subject import Subject

    _erase(Subject("user", str(number)), by, wait, yes=yes)


@user.command("export")
def export_user(*, number: UserId, by: By = None, output: Output = Path("-")) -> None:
    """Export a user as lines of JSON: events of both stores, names and where they were stated, rejected events."""
    from infra.operations.erasure.subject import Subject

    _export(Subject("user", str(number)), by, output)


@namespace.command("erase")
def erase_namespace(*, path: Path_, by: By = None, wait: Wait = WAIT_SECONDS, yes: Yes = False) -> None:
    """Erase a namespace with all below it, for a customer that leaves.

    That is its events and rejected events in both stores, the names that were stated in it, what the directory knows of
    its namespaces and projects, and what is still on its way. Repeat the command if it was interrupted, or if it says
    that ClickHouse is still to do.
    """
    _erase(_namespace(path), by, wait, yes=yes)


@namespace.command("export")
def export_namespace(*, path: Path_, by: By = None, output: Output = Path("-")) -> None:
    """Export a namespace with all below it as lines of JSON: events, names, facts, rejected events."""
    _export(_namespace(path), by, output)


def _namespace(path: str) -> "Subject":
    from functions.ingest.event.location import namespace_id_of
    from functions.shared.rejection import Rejection
    from infra.operations.erasure.subject import Subject

    try:
        namespace_id_of(path)
    except Rejection:
        raise typer.BadParameter(f"{path!r} is not like 27/28/", param_hint="PATH") from None
    return Subject("namespace", path)


def _erase(subject: "Subject", by: str | None, wait: int, *, yes: bool) -> None:
    from infra.operations.erasure.erase import Eraser

    use_local_stack()
    with errors_reported():
        eraser = Eraser(
            settings.database_url(),
            settings.clickhouse_url(),
            settings.clickhouse_cluster(),
            lambda text: typer.echo(text, err=True),
            wait,
        )
        eraser.require_reachable()
        if not yes:
            typer.confirm(f"Erase everything of {subject} permanently?", abort=True)
        erased = eraser.erase(subject, by or getpass.getuser())
    for line in _lines(erased):
        typer.echo(line)
    if erased.failure:
        typer.echo(f"ClickHouse is still to do: {erased.failure}. Repeat the command.", err=True)
        raise typer.Exit(1)


def _lines(erased: "Erased") -> Iterator[str]:
    numbers = {name: number for name, number in erased.counts.items() if name != "clickhouse_events"}
    removed = _all(numbers) or "nothing was left"
    yield f"Removed from PostgreSQL: {removed}."
    if erased.clickhouse == "done":
        yield f"Removed from ClickHouse: {counted(erased.counts.get('clickhouse_events', 0), 'event')}."
        yield f"ClickHouse deletes the files that held them within about {erased.old_parts_seconds:,} s."
    elif erased.clickhouse == "off":
        yield "ClickHouse is off."
    yield (
        f"Not stored from now on: what was sent before {format_moment(erased.requested_at)} and is still on its way."
        f" Until {format_moment(erased.repels_until)} it may still lie in the queue or among the dead letters."
    )
    if erased.shared_rejected:
        yield "These rejected events concern others too and stay; look at them with `usage-events rejected show`:"
        yield from map(str, erased.shared_rejected)


def _export(subject: "Subject", by: str | None, output: Path) -> None:
    from infra.operations.erasure.export import Exporter
    from infra.operations.export.output import opened

    use_local_stack()
    with errors_reported(), opened(output) as file:
        exporter = Exporter(
            settings.database_url(),
            registry.load(),
            settings.clickhouse_url(),
            lambda text: typer.echo(text, err=True),
        )
        counts = exporter.export(subject, by or getpass.getuser(), file)
    typer.echo(f"Exported: {_all(counts)}.", err=True)


def _all(counts: Mapping[str, int]) -> str:
    """The counts with their names, which are plurals like `events`, or `namespaces and projects`."""
    return ", ".join(
        f"{number:,} {name}" if " and " in name else counted(number, name.removesuffix("s"))
        for name, number in counts.items()
    )
