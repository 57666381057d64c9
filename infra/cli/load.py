"""`usage-events load`: sends steady traffic, and says how long events take until they are shown."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from functions.shared.counted import counted
from infra import stack_file
from infra.cli.environment import names_database, use_local_stack
from infra.cli.terminal import errors_reported

if TYPE_CHECKING:
    import httpx

    from infra.operations.load import Figures
    from infra.operations.load.watch import Watch

_SECONDS_BETWEEN_MESSAGES = 5
_REQUEST_SECONDS = 30
TOKEN_VARIABLE = "USAGE_EVENTS_TOKEN"  # noqa: S105 - the name of a variable

_ADDRESS = re.compile(r"https?://[^/]")


class ShownIn(StrEnum):
    """Where the command looks for the events."""

    auto = "auto"
    postgresql = "postgresql"
    graphql = "graphql"


def load(
    *,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second, of all producers together.")] = 50,
    seconds: Annotated[int, typer.Option(min=1, help="How long to send.")] = 60,
    producers: Annotated[int, typer.Option(min=1, max=100, help="Producers, each with a request a second.")] = 4,
    users: Annotated[int, typer.Option(min=1, max=10_000, help="How many people the events are of.")] = 60,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a row for each second.")] = None,
    url: Annotated[
        str,
        typer.Option(
            help=f"Address below which /v1/events is, with a token in {TOKEN_VARIABLE}; default: the local stack's."
        ),
    ] = "",
    shown_in: Annotated[
        ShownIn, typer.Option(help="Where to look for the events; auto: PostgreSQL if a setting names it.")
    ] = ShownIn.auto,
    wait: Annotated[int, typer.Option(min=1, help="Seconds for the last events to be shown.")] = 60,
) -> None:
    """Send steady traffic that looks real, and show how fast it is accepted and stored.

    Prints the accepted rate, percentiles of the time of a request and of the time until an event is shown, and how
    many events are still on their way. Exits with code 1 if nothing was accepted, or if an accepted event was not
    stored in time. The events are of users from 9001 and namespaces below 9001/, so that `usage-events namespace erase
    9001/` removes them again.
    """
    import httpx

    from functions.shared.catalog.registry import load as load_definitions
    from infra.operations.export.output import explained
    from infra.operations.load import Load, LoadError

    base, token = _system(url)
    with errors_reported(), explained(str(csv)):
        if csv is not None:
            csv.touch()  # before a run whose figures could not be written
    with errors_reported():
        headers = {"Authorization": f"Bearer {token}"}
        limits = httpx.Limits(max_connections=producers + 1, max_keepalive_connections=producers + 1)
        with httpx.Client(headers=headers, timeout=_REQUEST_SECONDS, limits=limits) as client:
            run = Load(client, f"{base}/v1/events", rate, seconds, producers, users, wait)
            with closing(_watch(shown_in, client, base)) as watch, _progress(seconds) as progress:
                try:
                    figures = run.run(load_definitions(), watch, progress)
                except LoadError as error:
                    typer.echo(error, err=True)
                    raise typer.Exit(1) from None
        if csv is not None:
            with explained(str(csv)):
                figures.write_csv(csv)
    for line in figures.lines(seconds, watch.name):
        typer.echo(line)
    total = figures.total()
    if total.on_the_way:
        typer.echo(f"{counted(total.on_the_way, 'accepted event', 'was')} not stored within {wait} s.", err=True)
    if not total.accepted or total.on_the_way or total.rejected:
        raise typer.Exit(1)


def _system(url: str) -> tuple[str, str]:
    """Returns the address of the API and a token for it."""
    file = stack_file.find()
    token = os.environ.get(TOKEN_VARIABLE, "")
    if url:
        if not _ADDRESS.match(url):
            raise typer.BadParameter(f"{url!r} is not an address like https://api.example.com", param_hint="--url")
        if not token:
            typer.echo(f"--url needs a token for the system in the variable {TOKEN_VARIABLE}.", err=True)
            raise typer.Exit(1)
        return url.rstrip("/"), token
    if file is None:
        typer.echo("No local stack runs: start it (make start), or name another system with --url.", err=True)
        raise typer.Exit(1)
    use_local_stack()
    stack = json.loads(file.read_text())
    return str(stack["api_url"]), str(stack["token"])


def _watch(shown_in: ShownIn, client: "httpx.Client", base: str) -> "Watch":
    from infra.operations.load.watch import GraphqlWatch, PostgresWatch

    if shown_in == ShownIn.graphql or (shown_in == ShownIn.auto and not names_database()):
        return GraphqlWatch(client, f"{base}/graphql")
    return PostgresWatch(settings.database_url())


@contextmanager
def _progress(seconds: int) -> Iterator[Callable[[float, "Figures"], None]]:
    """Yields a function that shows progress: as a bar in a terminal, else as a line every few seconds."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("sending", total=seconds)

        def show(elapsed: float, figures: "Figures") -> None:
            text = f"{figures.accepted:,} accepted, {figures.on_the_way:,} on their way"
            bar.update(task, completed=min(elapsed, seconds), description=text)

        yield show


class _Lines:
    """Prints a line every few seconds."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def __call__(self, elapsed: float, figures: "Figures") -> None:
        if elapsed - self._told_at >= _SECONDS_BETWEEN_MESSAGES:
            self._told_at = elapsed
            typer.echo(
                f"{counted(figures.accepted, 'event')} accepted, {figures.on_the_way:,} on their way …", err=True
            )
