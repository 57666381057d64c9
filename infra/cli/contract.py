"""`usage-events contract`: shows which share of each event carries each declared key, and what fell."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, errors_reported, past_day

if TYPE_CHECKING:
    from functions.retention.contract.verdict import Comparison

SECONDS = 600


def contract(
    day: Annotated[
        str | None, typer.Option(help="The day to look at, in UTC, like 2026-11-20; yesterday by default.")
    ] = None,
    *,
    fallen: Annotated[bool, typer.Option("--fallen", help="Show only what fell or stopped.")] = False,
) -> None:
    """Compare what producers sent on a day with the seven days before.

    A row for each event says how many there were, and how many a week before. A row for each of its declared keys says
    which share of the events carried the key, and the lowest share of the days before.
    """
    from functions.retention.contract import verdict
    from functions.retention.contract.watch import ContractWatch

    date = (datetime.now(UTC) - timedelta(days=1)).date() if day is None else past_day(day, "--day")
    use_local_stack()
    with errors_reported():
        compared = ContractWatch.of_settings().compare(date, SECONDS)
        table = Table("event", "key", "before", date.isoformat(), "verdict", title="Contract", title_justify="left")
        for one in verdict.fallen(compared) if fallen else compared:
            table.add_row(one.event, one.key, *_shown(one), one.verdict)
    if compared:
        console().print(table)
    else:
        typer.echo(f"No event came on {date} or on the days before with which it is compared.")


def _shown(one: "Comparison") -> tuple[str, str]:
    """Returns what was before and what was on the day: numbers of an event, shares of a key."""
    if not one.key:
        return ("" if one.before is None else f"{one.before:,.0f}"), f"{one.events:,}"
    return ("" if one.before is None else f"{one.before:.1%}"), (f"{one.share:.1%}" if one.events else "")
