"""`usage-events tenants`: shows what each tenant used, and what that costs."""

import csv
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from functions.shared import settings
from functions.shared.postgres import TimeLimits, connect
from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, errors_reported, printable
from infra.operations.tenant_usage import Measure, Prices, Usage, costs, read_usage, shares

_LIMITS = TimeLimits(statement=60, transaction=60)
_HEADER = ("tenant", "events", "stored", "bytes", "share")
_MAX_DAYS = 400
_LARGEST_PRICE = 10**15


class Format(StrEnum):
    """How the usage is written."""

    table = "table"
    csv = "csv"


def _price(text: str, option: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price < _LARGEST_PRICE:
        raise typer.BadParameter(f"{text!r} is not an amount like 1234.50", param_hint=option)
    return price


def tenants(
    *,
    days: Annotated[int, typer.Option(min=1, max=_MAX_DAYS, help="Days up to today, in UTC.")] = 30,
    format_: Annotated[Format, typer.Option("--format", help="How to write the usage.")] = Format.table,
    by: Annotated[Measure, typer.Option("--by", help="What decides a tenant's share.")] = Measure.events,
    bill: Annotated[
        str, typer.Option(metavar="AMOUNT", help="What these days cost, to be shared among the tenants.")
    ] = "0",
    per_million_events: Annotated[str, typer.Option(metavar="AMOUNT", help="Price of a million events.")] = "0",
    per_gibibyte: Annotated[str, typer.Option(metavar="AMOUNT", help="Price of a gibibyte of stored payloads.")] = "0",
) -> None:
    """Show what each tenant used, and its share; with prices, also what that costs.

    Counted are the tenant's events, those that were stored, and the bytes of their payloads, on the day on which they
    were stored.
    """
    prices = Prices(
        _price(bill, "--bill"),
        _price(per_million_events, "--per-million-events"),
        _price(per_gibibyte, "--per-gibibyte"),
    )
    use_local_stack()
    with errors_reported(), connect(settings.database_url(), _LIMITS) as connection:
        usages = read_usage(connection, days)
    if format_ is Format.csv:
        _write_csv(usages, prices, by)
    else:
        console().print(_table(usages, prices, by, days))


def _lines(usages: Sequence[Usage], prices: Prices, by: Measure) -> Iterator[tuple[Usage, Decimal, Decimal | None]]:
    """Yields each tenant's usage, share and cost; the cost is None without prices."""
    of_each = costs(usages, prices, by) if prices else [None] * len(usages)
    yield from zip(usages, shares(usages, by), of_each, strict=True)


def _write_csv(usages: Sequence[Usage], prices: Prices, by: Measure) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*_HEADER, "cost"] if prices else _HEADER)
    for usage, share, cost in _lines(usages, prices, by):
        row = [usage.tenant, usage.events, usage.stored, usage.bytes, f"{share:.6f}"]
        writer.writerow(row if cost is None else [*row, cost])


def _table(usages: Sequence[Usage], prices: Prices, by: Measure, days: int) -> Table:
    table = Table(title=f"Tenants, {days} days", title_justify="left")
    for name in (*_HEADER, "cost") if prices else _HEADER:
        table.add_column(name, justify="left" if name == "tenant" else "right")
    for usage, share, cost in _lines(usages, prices, by):
        row = [printable(usage.tenant), f"{usage.events:,}", f"{usage.stored:,}", f"{usage.bytes:,}", f"{share:.1%}"]
        table.add_row(*row, *([] if cost is None else [f"{cost:,}"]))
    return table
