"""The report of a retention run."""

from collections.abc import Iterator

import msgspec

from functions.shared.counted import counted


class KeptPartition(msgspec.Struct, frozen=True, omit_defaults=True):
    """An old partition that is not dropped.

    Attributes:
        unsynced_rows: number of its rows that are not in ClickHouse; None if unknown.
        missing_ids: ids of some rows that were copied but are missing in ClickHouse.
    """

    partition: str
    unsynced_rows: int | None
    reason: str
    missing_ids: list[str] = []


class Report(msgspec.Struct):
    """The changes of a run; in a dry run, the changes that a run would make.

    Attributes:
        made: missing partitions that were created, and detached ones that were attached again.
        busy: partitions in use by others; the next run continues with them.
        usage_counts_deleted: daily counts of tenants that are no longer kept.
        erased_users_forgotten: erasures from which the user's id was removed.
        clickhouse_ttl: `set to 24 months` or `removed`; None if nothing had to be done.
        failure: why work was left undone; empty otherwise.
    """

    dry_run: bool
    made: list[str] = []
    dropped: list[str] = []
    kept: list[KeptPartition] = []
    busy: list[str] = []
    rejected_events_deleted: int = 0
    erased_users_forgotten: int = 0
    usage_counts_deleted: int = 0
    clickhouse_ttl: str | None = None
    failure: str = ""

    def add_failure(self, failure: str) -> None:
        """Adds a failure; does nothing if `failure` is empty."""
        self.failure = "; ".join(filter(None, [self.failure, failure]))

    def lines(self) -> Iterator[str]:
        """Yields the report for people, one line for each item."""
        would = "would be " if self.dry_run else ""
        for name in self.made:
            yield f"{name}: {would}made"
        for name in self.dropped:
            yield f"{name}: {would}dropped"
        for kept in self.kept:
            rows = "" if kept.unsynced_rows is None else f" ({counted(kept.unsynced_rows, 'row')})"
            ids = f", like {', '.join(kept.missing_ids)}" if kept.missing_ids else ""
            yield f"{kept.partition}: {would}kept, since {kept.reason}{rows}{ids}"
        for name in self.busy:
            yield f"{name}: in use by others, left for the next run"
        yield f"rejected events {would}deleted: {self.rejected_events_deleted:,}"
        if self.erased_users_forgotten:
            yield f"ids of erased users {would}removed from erasures: {self.erased_users_forgotten:,}"
        if self.usage_counts_deleted:
            yield f"daily counts of tenants {would}deleted: {self.usage_counts_deleted:,}"
        if self.clickhouse_ttl is not None:
            yield f"ClickHouse's TTL: {would}{self.clickhouse_ttl}"
