"""Reports the result of a sync."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from functions.shared.sync_state import OpenTransaction

_MAX_REFUSED_IDS = 10

_COUNTS = ("rows", "removed_keys", "history_rows", "chunks", "bytes", "refused")


class Report(msgspec.Struct):
    """Result of a sync.

    Attributes:
        status: `caught_up`; `out_of_time` (the next run continues); `migrating` (ClickHouse's table is made anew; the
            next run continues); `skipped` (another sync is running); `disabled`.
        rows: number of rows that were copied; a row may be copied again beside a removed key of its event.
        history_rows: number of rows of months that only ClickHouse has, copied to the table that is made anew.
        removed_keys: number of removed keys that were copied.
        bytes: size of both as sent.
        refused: number of rows that ClickHouse refused; they are in `rejected_events`.
        refused_ids: event ids of the first refused rows.
        waits_for: oldest open transaction that the watermark waits for, with session, database and age.
        oldest_transaction_seconds: age of that transaction, 0 if none is open; None if the role may not read it.
        moved: number of stored events that followed their namespaces or projects in PostgreSQL.
        open_moves: number of moves that are not done; the next run continues.
        rollups: number of days whose rollup was built.
        open_rollups: number of days whose rollup a later run builds.
        reason: why the sync is disabled, or how far it is migrating.
        seconds_behind: age of the moment up to which everything is copied; None during the first backfill.
    """

    status: Literal["caught_up", "out_of_time", "migrating", "skipped", "disabled"]
    rows: int = 0
    removed_keys: int = 0
    history_rows: int = 0
    chunks: int = 0
    bytes: int = 0
    refused: int = 0
    refused_ids: list[str] = []
    moved: int = 0
    open_moves: int = 0
    rollups: int = 0
    open_rollups: int = 0
    seconds_behind: float | None = None
    waits_for: str | None = None
    oldest_transaction_seconds: float | None = 0.0
    reason: str = ""

    def record_oldest_transaction(self, transaction: OpenTransaction | None) -> None:
        """Records the transaction that the watermark waits for, if any."""
        self.waits_for = str(transaction) if transaction else None
        self.oldest_transaction_seconds = transaction.seconds if transaction else 0.0

    def record_refused(self, ids: Iterable[str]) -> None:
        """Records ids of refused events, up to a limit."""
        self.refused_ids = [*self.refused_ids, *ids][:_MAX_REFUSED_IDS]

    def combined_with(self, later: "Report") -> "Report":
        """Returns the combined report of this run and a later one."""
        if later.status == "skipped":
            return self
        counts = {name: getattr(self, name) + getattr(later, name) for name in _COUNTS}
        both = msgspec.structs.replace(later, **counts)
        both.refused_ids = (self.refused_ids + later.refused_ids)[:_MAX_REFUSED_IDS]
        return both
