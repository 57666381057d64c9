"""What a retention says that it did."""

import msgspec


class Kept(msgspec.Struct, frozen=True):
    """An old partition that is not dropped.

    Attributes:
        unsynced_rows: how many of its rows are not in ClickHouse; None where that is not known.
    """

    partition: str
    unsynced_rows: int | None
    reason: str


class Report(msgspec.Struct):
    """What was done; in a dry run, what would be.

    Attributes:
        made: partitions that were missing, those included that an earlier run had detached and that are wanted again.
        busy: partitions that others use; the next run goes on with them.
        clickhouse_ttl: `set to 24 months` or `removed`; None where nothing had to be done.
        failure: why something was left undone that should not have been; empty otherwise.
    """

    dry_run: bool
    made: list[str] = []
    dropped: list[str] = []
    kept: list[Kept] = []
    busy: list[str] = []
    rejected_events_deleted: int = 0
    clickhouse_ttl: str | None = None
    failure: str = ""
