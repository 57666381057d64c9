"""What a sync says that it did."""

from typing import Literal

import msgspec


class Report(msgspec.Struct):
    """What a sync did.

    Attributes:
        status: `caught_up`; `out_of_time`, the next run goes on; `skipped`, another one is running; `disabled`.
        bytes: of the rows, as they were sent.
        refused: rows that ClickHouse does not take; they are in `rejected_events`.
        seconds_behind: how old the newest moment is up to which everything is copied; None in the first backfill.
    """

    status: Literal["caught_up", "out_of_time", "skipped", "disabled"]
    rows: int = 0
    chunks: int = 0
    bytes: int = 0
    refused: int = 0
    seconds_behind: float | None = None
    reason: str = ""

    def followed_by(self, later: "Report") -> "Report":
        """What this run and a later one did together."""
        if later.status == "skipped":
            return self
        counts = {name: getattr(self, name) + getattr(later, name) for name in ("rows", "chunks", "bytes", "refused")}
        return msgspec.structs.replace(later, **counts)
