"""`usage-events lost-requests`: says which accepted requests a lost queue has taken along."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.terminal import format_moment, printable

_Logs = Annotated[
    list[Path],
    typer.Argument(
        metavar="LOG…", help="Logs of the ingest and of the consumer function.", exists=True, dir_okay=False
    ),
]


def lost_requests(
    *, logs: _Logs, ids: Annotated[bool, typer.Option("--ids", help="Print the id of each request.")] = False
) -> None:
    """Find requests that were accepted and never consumed, from the logs of both functions since the first of them.

    What still waits in the queue, or among the dead letters, counts as lost: run it when both are empty.
    """
    from infra.operations.lost_requests import Requests, by_tenant

    requests = Requests()
    for log in logs:
        with log.open(errors="replace") as lines:
            requests.read(lines)
    if not requests.accepted:
        typer.echo("These logs have no accepted request: name those of the ingest function, not compressed.", err=True)
        raise typer.Exit(1)
    if not requests.consumed:
        typer.echo("These logs have no consumed request. Is the log of the consumer function among them?", err=True)
    lost = requests.lost()
    events = sum(one.events for one in lost)
    typer.echo(f"{len(lost):,} of {len(requests.accepted):,} accepted requests were never consumed: {events:,} events.")
    if lost:
        first, last = format_moment(lost[0].accepted_at), format_moment(lost[-1].accepted_at)
        typer.echo(f"The first was accepted at {first}, the last at {last}.")
    for tenant, (number, of_tenant) in by_tenant(lost).items():
        typer.echo(f"  {printable(tenant)}: {number:,} requests, {of_tenant:,} events")
    if ids:
        for one in lost:
            typer.echo(f"{one.request_id} {one.accepted_at.isoformat()} {printable(one.tenant)} {one.events}")
