"""Counts what became of the events that were sent, second by second."""

import csv
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from functions.shared.counted import counted

PERCENTS = (50, 95, 99, 100)


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that is not below `percent` of the values; NaN of none.

    >>> percentile([3, 1, 2, 4], 50), percentile([3, 1, 2, 4], 100)
    (2, 4)
    """
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class Sent(NamedTuple):
    """An accepted event: the second of the run, and the moment on the clock of the run."""

    second: int
    moment: float


@dataclass(slots=True)
class Second:
    """What was sent in one second of the run.

    Attributes:
        refused: events that were answered, but not accepted.
        failed: events of requests without a usable answer; they may or may not be stored.
        requests: seconds that each answered request took.
        shown: seconds from sending an event until the system showed it.
        rejected: accepted events that the consumer rejected later.
    """

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    rejected: int = 0
    requests: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)

    @property
    def on_the_way(self) -> int:
        """Accepted events that the system has neither shown nor rejected."""
        return self.accepted - self.rejected - len(self.shown)


class Figures:
    """Collects what several producers and one watcher saw.

    Attributes:
        seconds: what was sent, by the second of the run.
        reasons: numbers of failed requests, and of those that were sent again.
        unsent: events that producers had no time for.
        accepted: events that were accepted until now.
    """

    def __init__(self) -> None:
        self.seconds = defaultdict[int, Second](Second)
        self.reasons = Counter[str]()
        self.unsent = self.accepted = 0
        self._pending = dict[UUID, Sent]()
        self._lock = threading.Lock()

    def answered(self, second: int, sent_at: float, took: float, ids: Collection[UUID], refused: int) -> None:
        """Records a request that was answered.

        Args:
            sent_at: moment at which the request began; `took` seconds later it was answered.
            ids: those of the accepted events.
        """
        with self._lock:
            row = self.seconds[second]
            row.requests.append(took)
            row.accepted += len(ids)
            self.accepted += len(ids)
            row.refused += refused
            self._pending.update(dict.fromkeys(ids, Sent(second, sent_at)))

    def failed(self, second: int, events: int, reason: str) -> None:
        """Records a request that was refused as a whole or has no answer."""
        with self._lock:
            self.seconds[second].failed += events
            self.reasons[reason] += 1

    def sent_again(self, reason: str) -> None:
        """Records a request that had no answer, and is sent once more."""
        with self._lock:
            self.reasons[f"{reason}, sent again"] += 1

    def late(self, events: int) -> None:
        """Records events that were not sent, because earlier requests took too long."""
        with self._lock:
            self.unsent += events

    @property
    def on_the_way(self) -> int:
        """Number of accepted events that were not shown yet."""
        return len(self._pending)

    def pending(self) -> dict[UUID, Sent]:
        """Returns the accepted events that were not shown yet."""
        with self._lock:
            return dict(self._pending)

    def shown(self, moment: float, ids: Collection[UUID], rejected: Collection[UUID] = ()) -> None:
        """Records that the system shows these events at a moment, and that the consumer rejected others."""
        with self._lock:
            for identifier in ids:
                sent = self._pending.pop(identifier)
                self.seconds[sent.second].shown.append(moment - sent.moment)
            for identifier in rejected:
                self.seconds[self._pending.pop(identifier).second].rejected += 1

    def total(self, since: float = 0) -> Second:
        """Returns the sums over the seconds of the run from `since` on."""
        with self._lock:
            rows = [row for second, row in self.seconds.items() if second >= since]
            return Second(
                sum(row.accepted for row in rows),
                sum(row.refused for row in rows),
                sum(row.failed for row in rows),
                sum(row.rejected for row in rows),
                [value for row in rows for value in row.requests],
                [value for row in rows for value in row.shown],
            )

    def lines(self, elapsed: float, where: str) -> Iterator[str]:
        """Yields the report of a run that sent for `elapsed` seconds and looked in the store named."""
        total = self.total()
        rate = total.accepted / elapsed
        yield f"Accepted: {counted(total.accepted, 'event')} in {elapsed:,.1f} s, {rate:,.1f} a second."
        if total.refused or total.failed:
            refused = counted(total.refused, "event", "was")
            yield f"Not accepted: {refused} refused, {counted(total.failed, '', 'was')} in failed requests."
        if self.unsent:
            yield f"Not sent: {counted(self.unsent, 'event')}, because requests took too long for this rate."
        for reason, number in self.reasons.most_common():
            yield f"  {counted(number, 'request')}: {reason}"
        half = self.total(since=elapsed / 2)  # functions that start make the first seconds slow
        yield f"Time of a request:          {_percentiles(total.requests)}"
        yield f"  in the second half:       {_percentiles(half.requests)}"
        yield f"From sending to {where + ':':<12}{_percentiles(total.shown)}"
        yield f"  in the second half:       {_percentiles(half.shown)}"
        if total.rejected:
            yield f"Rejected by the consumer: {total.rejected:,}; `usage-events rejected list` shows the reasons."
        yield f"Still on their way: {total.on_the_way:,}"

    def write_csv(self, file: Path) -> None:
        """Writes a row for each second of the run in which something was sent."""
        with file.open("w", newline="") as output:
            writer = csv.writer(output)
            counts = ["second", "accepted", "refused", "failed", "rejected", "on_the_way"]
            writer.writerow([*counts, *(f"{kind}_p{percent}" for kind in ("request", "shown") for percent in PERCENTS)])
            for second, row in sorted(self.seconds.items()):
                times = [percentile(kind, percent) for kind in (row.requests, row.shown) for percent in PERCENTS]
                numbers = [second, row.accepted, row.refused, row.failed, row.rejected, row.on_the_way]
                writer.writerow([*numbers, *("" if math.isnan(time) else f"{time:.4f}" for time in times)])


def _percentiles(values: Sequence[float]) -> str:
    if not values:
        return "none"
    names = {100: "max"}
    return "  ".join(f"{names.get(one, f'p{one}')} {percentile(values, one):.3f} s" for one in PERCENTS)
