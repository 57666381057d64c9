"""`python -m infra.local`: the commands behind `make start`, `make stop` and `make demo`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from infra.local import ports, stack
from infra.local.process import StartError

HELP = (
    "The local stack: PostgreSQL, ClickHouse, AWS, and the functions.\n\n"
    "If AWS_ENDPOINT_URL or LOCALSTACK_HOST names a running AWS endpoint, such as a LocalStack with Docker, "
    "the functions are deployed there."
)

app = typer.Typer(help=HELP, no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Folder of the stack's state.")]
DEFAULT_FOLDER = Path(".local")
INTERRUPTED = 130


@app.command()
def start(
    folder: Folder = DEFAULT_FOLDER,
    *,
    clickhouse: Annotated[bool, typer.Option(help="Whether the functions use ClickHouse.")] = True,
) -> None:
    """Start the stack; it runs until Ctrl-C, or until `stop` in another terminal."""
    with _errors_reported(), stack.up(folder, clickhouse=clickhouse) as running:
        typer.echo(
            f"\nThe stack is running. Ctrl-C stops it.\n"
            f"  events    {running.api_url}/v1/events\n"
            f"  GraphQL   {running.api_url}/graphql\n"
            f"  dashboard {running.api_url}/dashboard\n"
            f"  queue     {running.queue_url}\n"
            f"  AWS       {running.aws_endpoint_url}\n"
            f"  database  {stack.without_password(running.database_url)}\n"
            f"  {folder / 'stack.json'} has all of these, with passwords and a token"
        )
        signal.pause()


@app.command()
def stop(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop the running stack, and wait until it has stopped."""
    with _errors_reported():
        typer.echo("Stopped." if stack.stop(folder) else "The local stack is not running.")


@app.command()
def demo(folder: Folder = DEFAULT_FOLDER) -> None:
    """Start the stack (or use the running one), send every event, and show the stored events."""
    from infra.local.demo import show

    with _errors_reported(interrupted=INTERRUPTED):
        already = stack.running(folder)
        if already is not None:
            show(already, folder)
            return
        with stack.up(folder) as running:
            show(running, folder)


@contextmanager
def _errors_reported(interrupted: int = 0) -> Iterator[None]:
    """Reports errors on stderr instead of a stack trace; `interrupted` is the exit code on a signal to stop."""
    _stay_on_this_machine()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except (stack.AlreadyRunning, StartError) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(interrupted) from None


def _stay_on_this_machine() -> None:
    """Ignores the user's AWS profiles and proxies, because all requests go to this machine."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        os.environ.pop(name, None)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), ports.HOST, "localhost")))


if __name__ == "__main__":
    app()
