"""What a sync says that it did."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from functions.shared.sync_state import OpenTransaction

_MAX_REFUSED_IDS = 10


class Report(msgspec.Struct):
    """What a sync did.

    Attributes:
        status: `caught_up`; `out_of_time`, the next run goes on; `skipped`, another one is running; `disabled`.
        bytes: of the rows, as they were sent.
        refused: rows that ClickHouse does not take; they are in `rejected_events`.
        refused_ids: of the first of them.
        waits_for: the oldest open transaction that the watermark waits for: its session, database and age.
        oldest_transaction_seconds: that age, 0 where none is open; None where it is not ours to know.
        seconds_behind: how old the newest moment is up to which everything is copied; None in the first backfill.
    """

    status: Literal["caught_up", "out_of_time", "skipped", "disabled"]
    rows: int = 0
    chunks: int = 0
    bytes: int = 0
    refused: int = 0
    refused_ids: list[str] = []
    seconds_behind: float | None = None
    waits_for: str | None = None
    oldest_transaction_seconds: float | None = 0.0
    reason: str = ""

    def record_oldest_transaction(self, transaction: OpenTransaction | None) -> None:
        """Keeps which transaction the watermark waits for, if it waits for one."""
        self.waits_for = str(transaction) if transaction else None
        self.oldest_transaction_seconds = transaction.seconds if transaction else 0.0

    def record_refused(self, ids: Iterable[str]) -> None:
        """Keeps which events ClickHouse refused, a few of them."""
        self.refused_ids = [*self.refused_ids, *ids][:_MAX_REFUSED_IDS]

    def combined_with(self, later: "Report") -> "Report":
        """What this run and a later one did together."""
        if later.status == "skipped":
            return self
        counts = {name: getattr(self, name) + getattr(later, name) for name in ("rows", "chunks", "bytes", "refused")}
        both = msgspec.structs.replace(later, **counts)
        both.refused_ids = (self.refused_ids + later.refused_ids)[:_MAX_REFUSED_IDS]
        return both
