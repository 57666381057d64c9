"""`usage-events namespace`: moves a namespace with everything that is stored under it. See also `erasure`."""

import getpass
import time
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from functions.shared.counted import counted
from functions.shared.postgres import TimeLimits, connect
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported

if TYPE_CHECKING:
    from functions.sync.moves import MoveReport

app = typer.Typer(
    help="Move, erase or export a namespace with everything that is stored under it.", no_args_is_help=True
)

_LIMITS = TimeLimits(statement=60, transaction=60)
_RUN_SECONDS = 24 * 60 * 60
_POLL_SECONDS = 1


@app.command()
def move(
    old: Annotated[str, typer.Argument(help="Traversal path of before, like 27/28/, or the namespace's id.")],
    new: Annotated[str, typer.Argument(help="Traversal path from now on, like 31/28/.")],
) -> None:
    """State that a namespace has another path, and move all stored events and names there.

    The command may be stopped at any time; the sync function continues, and so does the same command.
    """
    from functions.shared.grant import is_traversal_path
    from infra.operations import moves

    for path, option in ((old, "OLD"), (new, "NEW")):
        if not is_traversal_path(path) and not (option == "OLD" and path.isdecimal()):
            raise typer.BadParameter(f"{path!r} is not like 27/28/", param_hint=option)
    use_local_stack()
    with errors_reported():
        database_url = settings.database_url()
        with connect(database_url, _LIMITS) as connection:
            old_path = moves.current_path(connection, int(old)) if old.isdecimal() else old
            if old_path is None:
                raise moves.MoveRefused(f"no path of the namespace {old} is known")
            moves.state_move(connection, old_path, new, getpass.getuser())
        report = _run_to_the_end(database_url)
    typer.echo(f"{old_path} is {new} now; {counted(report.events, 'event')} and {counted(report.names, 'name')} moved.")


def _run_to_the_end(database_url: str) -> "MoveReport":
    from functions.sync.moves import Mover

    mover = Mover(database_url, settings.clickhouse_url(), _show_progress)
    report = mover.run(_RUN_SECONDS)
    while report.open:
        time.sleep(_POLL_SECONDS)  # the sync function is moving events, or rows are locked
        report += mover.run(_RUN_SECONDS)
    return report


def _show_progress(report: "MoveReport") -> None:
    typer.echo(f"{counted(report.events, 'event')} …", err=True)
