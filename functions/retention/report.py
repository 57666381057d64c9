"""What a retention says that it did."""

from collections.abc import Iterator

import msgspec


class KeptPartition(msgspec.Struct, frozen=True, omit_defaults=True):
    """An old partition that is not dropped.

    Attributes:
        unsynced_rows: how many of its rows are not in ClickHouse; None where that is not known.
        missing_ids: of rows that were copied and are not there all the same, the ids of some.
    """

    partition: str
    unsynced_rows: int | None
    reason: str
    missing_ids: list[str] = []


class Report(msgspec.Struct):
    """What was done; in a dry run, what would be.

    Attributes:
        made: partitions that were missing, and those that were detached and are attached again.
        busy: partitions that others use; the next run goes on with them.
        clickhouse_ttl: `set to 24 months` or `removed`; None where nothing had to be done.
        failure: why something was left undone that should not have been; empty otherwise.
    """

    dry_run: bool
    made: list[str] = []
    dropped: list[str] = []
    kept: list[KeptPartition] = []
    busy: list[str] = []
    rejected_events_deleted: int = 0
    clickhouse_ttl: str | None = None
    failure: str = ""

    def add_failure(self, failure: str) -> None:
        """Says one more thing that was left undone; nothing if `failure` is empty."""
        self.failure = "; ".join(filter(None, [self.failure, failure]))

    def lines(self) -> Iterator[str]:
        """The report for people, a line for each thing."""
        would = "would be " if self.dry_run else ""
        for name in self.made:
            yield f"{name}: {would}made"
        for name in self.dropped:
            yield f"{name}: {would}dropped"
        for kept in self.kept:
            rows = "" if kept.unsynced_rows is None else f" ({kept.unsynced_rows:,} rows)"
            ids = f", like {', '.join(kept.missing_ids)}" if kept.missing_ids else ""
            yield f"{kept.partition}: {would}kept, since {kept.reason}{rows}{ids}"
        for name in self.busy:
            yield f"{name}: in use by others, left for the next run"
        yield f"rejected events {would}deleted: {self.rejected_events_deleted:,}"
        if self.clickhouse_ttl is not None:
            yield f"ClickHouse's TTL: {would}{self.clickhouse_ttl}"
