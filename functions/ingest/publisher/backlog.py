"""Holds the events that wait to be sent, in bounded memory, and counts the outcomes of the others."""

import contextlib
import math
import threading
import time
from collections import deque
from dataclasses import replace
from queue import Empty, SimpleQueue

from functions.ingest.publisher.limits import Limits
from functions.ingest.publisher.stats import Stats


class Backlog:
    """Passes events from the threads that track them to the thread that sends them.

    The lock is held only briefly, and is reentrant: a signal handler or finalizer may track an event while its thread
    tracks another one. A signal handler may also raise an error at any point.

    Args:
        max_bytes: size limit of the JSON array of events that are sent together.
    """

    def __init__(self, limits: Limits, max_bytes: int) -> None:
        self._limits = limits
        self._max_bytes = max_bytes - 1  # the array has one byte more than its events with a comma each
        lock = threading.RLock()
        self._lock = lock
        # Signals a possible batch. Not a condition, because a finalizer may notify the thread that is about to wait.
        self._work: SimpleQueue[None] = SimpleQueue()
        self._haste = threading.Condition(lock)  # notified when a flush begins
        self._progress = threading.Condition(lock)  # notified when a batch is finished
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._unsettled = 0  # events of the batch without an outcome
        self._finished = 0  # events finished since the start
        self._wanted = 0  # number of finished events that the latest flush waits for
        self._flushes = 0
        self._is_closed = False
        self._stats = Stats()

    @property
    def flushes(self) -> int:
        """Number of flushes so far."""
        return self._flushes

    def put(self, event: bytes) -> bool:
        """Adds an event and returns True; if the backlog is full or closed, counts it as lost and returns False."""
        with self._lock:
            if self._is_closed:
                self.count(Stats(lost=1, reasons={"closed": 1}))
                return False
            if self._pending_bytes + self._batch_bytes + len(event) > self._limits.buffer_bytes:
                self.count(Stats(lost=1, reasons={"buffer_full": 1}))
                return False
            size = len(event) + 1
            is_first = not self._pending
            if is_first:
                self._pending_since = time.monotonic()
                self._wake()  # also here, in case a signal handler raises before the second call
            self._pending.append(event)
            self._pending_bytes += size
            if is_first or self._is_full:
                self._wake()
            return True

    def count(self, stats: Stats) -> None:
        """Counts outcomes of events outside the batch."""
        with self._lock:
            while True:
                before = self._stats
                after = before.plus(stats)
                if self._stats is before:  # no finalizer in this thread counted meanwhile
                    self._stats = after
                    return

    def next_batch(self) -> list[bytes] | None:
        """Finishes the previous batch, and waits for the next one; returns None after the end."""
        with self._lock:
            self._finished, self._batch, self._batch_bytes = self._finished + len(self._batch), [], 0
            self._progress.notify_all()
        while True:
            with self._lock:
                if self._is_due:
                    self._cut()
                    return self._batch
                if self._is_closed and not self._pending:
                    return None
                seconds = self._seconds_until_due()
            with contextlib.suppress(Empty):
                self._work.get(timeout=seconds)

    def settle(self, stats: Stats) -> None:
        """Counts outcomes of events in the batch."""
        with self._lock:
            self._unsettled -= stats.settled
            self.count(stats)

    def pause(self, seconds: float, flushes: int) -> None:
        """Waits for the given time, or until a flush begins that `flushes` does not count."""
        with self._lock:
            self._haste.wait_for(lambda: self._flushes != flushes, min(seconds, threading.TIMEOUT_MAX))

    def flush(self, seconds: float) -> bool:
        """Requests that all events be sent at once, and waits; returns whether none of these events waits any more."""
        with self._lock:
            wanted = self._wanted = self._finished + len(self._batch) + len(self._pending)
            self._flushes += 1
            self._wake()
            self._haste.notify()
            return self._progress.wait_for(lambda: self._finished >= wanted, min(seconds, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Closes the backlog, which then accepts no more events."""
        with self._lock:
            self._is_closed = True
            self._wake()

    def stats(self) -> Stats:
        """Returns the outcomes of all events so far."""
        with self._lock:
            return replace(self._stats, waiting=len(self._pending) + self._unsettled)

    def _wake(self) -> None:
        """Makes the sending thread look for a batch."""
        if self._work.empty():
            self._work.put(None)

    @property
    def _is_full(self) -> bool:
        return len(self._pending) >= self._limits.batch_events or self._pending_bytes >= self._max_bytes

    @property
    def _is_due(self) -> bool:
        """Whether the pending events should be sent now."""
        if not self._pending:
            return False
        is_wanted = self._is_closed or self._finished < self._wanted
        return is_wanted or self._is_full or self._pending_age >= self._limits.batch_seconds

    @property
    def _pending_age(self) -> float:
        return time.monotonic() - self._pending_since

    def _seconds_until_due(self) -> float:
        seconds = self._limits.batch_seconds - self._pending_age if self._pending else math.inf
        return min(max(0, seconds), threading.TIMEOUT_MAX)

    def _cut(self) -> None:
        """Moves the next batch out of the pending events."""
        while self._pending and len(self._batch) < self._limits.batch_events:
            size = len(self._pending[0]) + 1
            if self._batch and self._batch_bytes + size > self._max_bytes:
                break
            self._batch.append(self._pending.popleft())
            self._batch_bytes += size
            self._pending_bytes -= size
        self._unsettled = len(self._batch)
