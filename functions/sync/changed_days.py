"""Records days before their events change in ClickHouse, so that no outdated rollup of them counts."""

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from uuid import UUID

from functions.shared.postgres import Connection
from functions.shared.rollup_days import UNCONFIRMED_SECONDS, confirm_changes, is_over, record_change


class ChangedDays:
    """The days that one run changes in one table of ClickHouse. The run may change a recorded day several times.

    A day that is not over has no rollup, so that it needs no record.
    """

    def __init__(self, connection: Connection, target: UUID) -> None:
        self._connection = connection
        self._target = target
        self._recorded: dict[date, float] = {}
        self._numbers: list[int] = []

    def record(self, days: Iterable[date]) -> None:
        """Records the days; call it before the change, outside of a transaction."""
        now = time.monotonic()
        too_old = now - UNCONFIRMED_SECONDS / 2
        if new := {day for day in days if is_over(day) and self._recorded.get(day, too_old) <= too_old}:
            self._numbers += record_change(self._connection, self._target, new)
            self._recorded |= dict.fromkeys(new, now)

    def confirm(self) -> None:
        """Records that no change is under way any more. Not called after an error: the changes then get old."""
        confirm_changes(self._connection, self._numbers)
        self._recorded, self._numbers = {}, []


def dates(texts: Iterable[bytes]) -> set[date]:
    """Parses dates like `2026-11-20`. Others are beyond what ClickHouse stores as they are, and not over."""
    days = set()
    for text in texts:
        with suppress(ValueError):
            days.add(date.fromisoformat(text.decode()))
    return days
