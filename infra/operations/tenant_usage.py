"""Reads what each tenant used, and shares costs among the tenants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from psycopg.rows import class_row

from functions.shared.postgres import Connection

_READ = """
    SELECT tenant, sum(events)::bigint AS events, sum(stored)::bigint AS stored, sum(bytes)::bigint AS bytes
    FROM tenant_usage
    WHERE day > (now() AT TIME ZONE 'UTC')::date - %s
    GROUP BY tenant
    ORDER BY sum(events) DESC, tenant
"""

_MILLION = 1_000_000
_GIBIBYTE = 1024**3
_CENT = Decimal("0.01")


class Measure(StrEnum):
    """What decides a tenant's share."""

    events = "events"
    bytes = "bytes"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant used.

    Attributes:
        tenant: root namespace, like `27/`; `none` for events without a namespace.
        events: number of events, those included that were stored before.
        stored: number of events that were stored.
        bytes: size of the payloads of the stored events as JSON.
    """

    tenant: str
    events: int
    stored: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Prices:
    """What the usage of all tenants costs, in any currency.

    Attributes:
        bill: amount that the tenants share.
        per_million_events: price of a million events.
        per_gibibyte: price of a gibibyte of payloads.
    """

    bill: Decimal = Decimal(0)
    per_million_events: Decimal = Decimal(0)
    per_gibibyte: Decimal = Decimal(0)

    def __bool__(self) -> bool:
        return any((self.bill, self.per_million_events, self.per_gibibyte))


def read_usage(connection: Connection, days: int) -> list[Usage]:
    """Returns the usage of the last days, today in UTC included; the tenant with the most events comes first."""
    return connection.cursor(row_factory=class_row(Usage)).execute(_READ, [days]).fetchall()


def shares(usages: Sequence[Usage], by: Measure) -> list[Decimal]:
    """Returns the share of each tenant, from 0 to 1."""
    amounts = [usage.events if by is Measure.events else usage.bytes for usage in usages]
    total = sum(amounts)
    return [Decimal(amount) / total if total else Decimal(0) for amount in amounts]


def costs(usages: Sequence[Usage], prices: Prices, by: Measure) -> Iterator[Decimal]:
    """Yields the cost of each tenant in hundredths of the currency; all of them together are the cost of the whole.

    Args:
        by: what decides the shares of the bill.
    """
    exact, given = Decimal(0), Decimal(0)
    for usage, share in zip(usages, shares(usages, by), strict=True):
        exact += prices.bill * share
        exact += prices.per_million_events * usage.events / _MILLION + prices.per_gibibyte * usage.bytes / _GIBIBYTE
        cost = exact.quantize(_CENT, ROUND_HALF_EVEN) - given  # what rounding leaves goes to the next tenant
        given += cost
        yield cost
