"""Memory and times of a local stack under steady load, one row for each part of the run."""

import csv
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.operations.load import Figures
from infra.operations.load.figures import percentile

PROCESSES = {
    "ingest": "IngestFunction",
    "consumer": "ConsumerFunction",
    "sync": "SyncFunction",
    "graphql": "GraphqlFunction",
    "clickhouse": "infra.local.clickhouse",
    "aws": "guarded_ministack",
}
"""A part of each process's command line, by the name of the column that shows its memory."""
FUNCTIONS = ("ingest", "consumer", "sync", "graphql")
TIMES = ("request", "stored", "query")

# Of a quarter's median over that of an earlier quarter.
GROWTH_OF_MEMORY = 1.1
GROWTH_OF_TIMES = 2
SLACK_MEGABYTES = 8  # of what Python's allocator keeps and gives back
SLACK_SECONDS = 0.25  # the watch looks that often


@dataclass(slots=True)
class Watched:
    """Measures a stack several times while it is under load. A thread of its own asks, one query after another.

    Attributes:
        process_id: that of the stack; all others are below it.
        query: asks GraphQL what a reader asks, and returns whether it was answered.
        parts: how many parts the run has.
        part_seconds: time between two measurements of memory.
        query_seconds: time between two queries.
        memory: for each part, the largest resident memory of a process in MB, by column.
        queries: for each part, the seconds that its answered queries took.
        unanswered: for each part, how many queries had no answer.
    """

    process_id: int
    query: Callable[[], bool]
    parts: int
    part_seconds: float
    query_seconds: float
    memory: list[dict[str, float]] = field(default_factory=list)
    queries: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    unanswered: Counter[int] = field(default_factory=Counter)
    _asked_at: float = 0
    _asking: Future[None] | None = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __call__(self, elapsed: float, _: Figures) -> None:
        """Measures what is due; the load calls it with the seconds since its start."""
        if len(self.memory) < self.parts and elapsed >= (len(self.memory) + 1) * self.part_seconds:
            self.memory.append(memory_below(self.process_id))
        if elapsed < self._asked_at + self.query_seconds or (self._asking and not self._asking.done()):
            return
        if self._asking:
            self._asking.result()
        self._asked_at = elapsed
        self._asking = self._thread.submit(self._ask, int(elapsed / self.part_seconds))

    def _ask(self, part: int) -> None:
        begin = time.monotonic()
        if self.query():
            self.queries[part].append(time.monotonic() - begin)
        else:
            self.unanswered[part] += 1

    def close(self) -> None:
        """Waits for the last query."""
        self._thread.shutdown()

    def rows(self, figures: Figures) -> list[dict[str, float]]:
        """Returns a row for each part: events, percentiles of times in seconds, memory in MB."""
        return [
            {"seconds": (number + 1) * self.part_seconds} | self._times(number, figures) | memory
            for number, memory in enumerate(self.memory)
        ]

    def _times(self, number: int, figures: Figures) -> dict[str, float]:
        length = self.part_seconds
        seconds = [row for second, row in figures.seconds.items() if int(second / length) == number]
        values = {
            "request": [value for row in seconds for value in row.requests],
            "stored": [value for row in seconds for value in row.shown],
            "query": self.queries[number],
        }
        counts = {"accepted": float(sum(row.accepted for row in seconds)), "unanswered": float(self.unanswered[number])}
        return counts | {
            f"{name}_p{percent}": round(percentile(values[name], percent), 3)
            for name in TIMES
            for percent in (50, 95, 99)
        }


def memory_below(process_id: int) -> dict[str, float]:
    """Returns the largest resident memory of a process in MB, by column; the processes are below the given one."""
    largest = dict.fromkeys(PROCESSES, 0.0)
    for process in psutil.Process(process_id).children(recursive=True):
        with suppress(psutil.Error):  # it ended; macOS then refuses to show it
            command = " ".join(process.cmdline())
            resident = process.memory_info().rss / 1024**2
            for column, part in PROCESSES.items():
                if part in command:
                    largest[column] = max(largest[column], round(resident, 1))
    return largest


def growth(rows: Sequence[Mapping[str, float]], column: str) -> tuple[float, float]:
    """Returns the medians of a column in the second and in the last quarter of the rows; the first one warms up.

    A median of many rows is indifferent to a few that something else on the machine made large.
    """
    quarter = max(1, len(rows) // 4)
    second, last = rows[quarter : 2 * quarter], rows[-quarter:]
    before, after = (_median([row[column] for row in part]) for part in (second, last))
    return before, after


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def grown(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns a line for each column of memory or times that is not flat."""
    limits = {name: (GROWTH_OF_MEMORY, float(SLACK_MEGABYTES)) for name in FUNCTIONS}
    limits |= {f"{name}_p50": (GROWTH_OF_TIMES, SLACK_SECONDS) for name in TIMES}
    found = []
    for column, (factor, slack) in limits.items():
        before, after = growth(rows, column)
        if after > before * factor + slack:
            found.append(f"{column} grew from {before:.3f} to {after:.3f}")
    return found


def write(file: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes the rows as CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as output:
        writer = csv.DictWriter(output, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
