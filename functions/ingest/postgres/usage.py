"""Counts what each tenant uses: events and bytes, by the root namespace that each event lies in."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from functions.ingest.postgres.row import Row
from functions.shared import canary
from functions.shared.postgres import Connection
from functions.shared.tenant import NOBODY
from functions.shared.traversal_path import root_of

_PATH = attrgetter("namespace_path")

# The backends that run at the same time rarely have the same number, see migration 0015. All transactions write in the
# same order, and write nothing after that, so no two of them wait for each other.
_ADD = """
    INSERT INTO tenant_usage AS known (day, tenant, shard, events, stored, bytes)
    SELECT (now() AT TIME ZONE 'UTC')::date, tenant, pg_backend_pid() %% 8, events, stored, bytes
    FROM unnest(%(tenants)s::text[], %(events)s::bigint[], %(stored)s::bigint[], %(bytes)s::bigint[])
        AS counted (tenant, events, stored, bytes)
    ORDER BY tenant
    ON CONFLICT (day, tenant, shard) DO UPDATE SET
        events = known.events + excluded.events,
        stored = known.stored + excluded.stored,
        bytes = known.bytes + excluded.bytes
"""


class TenantUsage(NamedTuple):
    """What a tenant used.

    Attributes:
        events: number of events that became rows, those included that were stored before.
        stored: number of events that were stored.
        bytes: size of the payloads of the stored events as JSON.
    """

    events: int = 0
    stored: int = 0
    bytes: int = 0


class BatchUsage:
    """What the rows of a batch add to the usage of their tenants.

    Rows are counted by path: there are far fewer paths than rows, and counting paths takes no code in Python.

    Attributes:
        sizes: bytes of the payloads of the stored rows, by path. The encoder of rows adds them up on its way.
    """

    def __init__(self) -> None:
        self.sizes: defaultdict[str | None, int] = defaultdict(int)
        self._stored: Counter[str | None] = Counter()
        self._offered: Counter[str | None] | None = None

    def count_offered(self, slices: Iterable[Sequence[Row]]) -> None:
        """Counts all rows, those included that are not stored. Without this call, all rows were stored."""
        self._offered = Counter(chain.from_iterable(map(_PATH, rows) for rows in slices))

    def restart(self) -> None:
        """Forgets what was counted as stored."""
        self._stored.clear()
        self.sizes.clear()

    def add_stored(self, rows: Iterable[Row]) -> None:
        """Counts rows as stored. Their sizes are added by whoever encodes them."""
        self._stored.update(map(_PATH, rows))

    def by_tenant(self) -> dict[str, TenantUsage]:
        """Returns what each tenant used, by its root namespace; `none` for events without a namespace.

        Canaries are of no tenant.
        """
        usage: dict[str, TenantUsage] = {}
        for path, events in (self._stored if self._offered is None else self._offered).items():
            if path == canary.NAMESPACE_PATH:
                continue
            tenant = root_of(path) if path else NOBODY
            known = usage.get(tenant, TenantUsage())
            size = self.sizes.get(path, 0)
            usage[tenant] = TenantUsage(known.events + events, known.stored + self._stored[path], known.bytes + size)
        return usage


def write_usage(usage: BatchUsage, connection: Connection) -> None:
    """Adds the usage of a batch to that of the day. Must be the last statement of the transaction that stores it."""
    of_tenants = usage.by_tenant()
    if of_tenants:
        events, stored, sizes = zip(*of_tenants.values(), strict=True)
        values = {"tenants": list(of_tenants), "events": list(events), "stored": list(stored), "bytes": list(sizes)}
        connection.execute(_ADD, values)
