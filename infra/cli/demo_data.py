"""`usage-events demo-data`: fills a system with events that look real."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from functions.shared import settings
from functions.shared.counted import counted
from infra import stack_file
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported

_EVENTS_BETWEEN_MESSAGES = 5_000


def demo_data(
    *,
    days: Annotated[int, typer.Option(min=1, help="Days until today, at most; no more than the retention.")] = 90,
    users: Annotated[int, typer.Option(min=1, max=10_000, help="How many people use the features.")] = 60,
    seed: Annotated[int, typer.Option(help="Another seed gives other events; the same one the same on each day.")] = 1,
    queue_url: Annotated[
        str, typer.Option(help="Queue of the system that gets the events; default: that of the running local stack.")
    ] = "",
) -> None:
    """Send events that look like real use: weekdays, growth, people who lapse, sessions.

    The events are of users from 9001 and namespaces below 9001/, so that `usage-events namespace erase 9001/` removes
    them again.
    """
    import boto3

    from functions.shared.catalog.registry import load
    from infra.operations.demo_data import demo_events, send

    if not queue_url and stack_file.find() is None:
        typer.echo("No local stack runs: start it (make start), or name another queue with --queue-url.", err=True)
        raise typer.Exit(1)
    use_local_stack()
    with errors_reported():
        queue = queue_url or settings.queue_url()
        events = demo_events(
            load(),
            datetime.now(UTC),
            days=days,
            users=users,
            seed=seed,
            retention_months=settings.retention_months(),
        )
        sent = send(events, boto3.client("sqs"), queue, _tell)
    typer.echo(f"{counted(sent, 'event', 'was')} sent, to be shown within a minute.")


def _tell(count: int) -> None:
    if count % _EVENTS_BETWEEN_MESSAGES == 0:
        typer.echo(f"{counted(count, 'event')} …", err=True)
