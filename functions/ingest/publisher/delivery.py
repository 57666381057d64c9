"""Sends batches of events until each batch has arrived or is given up."""

import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence

from functions.ingest.publisher.backlog import Backlog
from functions.ingest.publisher.destination import Destination, Refused, Sender, Sent, Unacceptable, Unavailable
from functions.ingest.publisher.limits import Limits
from functions.ingest.publisher.stats import Stats

QUIET_SECONDS = 60
_MIN_ATTEMPTS = 3  # even if the time is over: a frozen function may lose it all in the first attempt
_MAX_DOUBLINGS = 30

logger = logging.getLogger(__name__)


class Warnings:
    """Logs failures, at most once a minute."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def warn(self, cause: str, stats: Stats) -> None:
        """Logs the cause and the counts so far."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            log_warning(cause, stats)


def log_warning(cause: str, stats: Stats) -> None:
    """Logs a warning. Errors of the program's logging are suppressed, because they must not stop the sending."""
    with contextlib.suppress(Exception):
        logger.warning(
            "AI usage events: %s. So far %d accepted, %d ignored, %d rejected, %d lost, %d waiting. Reasons: %s",
            cause,
            stats.accepted,
            stats.ignored,
            stats.rejected,
            stats.lost,
            stats.waiting,
            ", ".join(f"{reason}: {count}" for reason, count in stats.reasons.items()) or "none",
        )


class Delivery:
    """Sends a publisher's events in a thread of its own."""

    def __init__(self, destination: Destination, backlog: Backlog, limits: Limits, warnings: Warnings) -> None:
        self._destination = destination
        self._sender: Sender | None = None  # opened in the thread: reading the certificates takes time and may fail
        self._backlog = backlog
        self._limits = limits
        self._warnings = warnings
        self._failures = 0  # consecutive failures

    def run(self) -> None:
        """Sends until the backlog is closed and empty."""
        while (batch := self._backlog.next_batch()) is not None:
            self._deliver(batch)
        if self._sender is not None:
            self._sender.close()

    def hasten(self) -> None:
        """Sends all waiting events at once."""
        self._backlog.flush(seconds=0)

    def finish(self, since: float) -> None:
        """Waits for the events until `exit_seconds` after `since`, which is a monotonic time."""
        if not self._backlog.flush(max(0, since + self._limits.exit_seconds - time.monotonic())):
            log_warning("the process ends before all events are sent", self._backlog.stats())

    def _deliver(self, batch: Sequence[bytes]) -> None:
        parcels = [batch]
        attempts = 0
        give_up_at = time.monotonic() + self._limits.give_up_seconds
        while parcels:
            parcel = parcels.pop()
            flushes = self._backlog.flushes
            try:
                sent, trouble = self._attempt(parcel)
            except Unacceptable as error:
                parcels.extend(self._parts(parcel, error))
                continue
            self._settle(sent)
            if not sent.again:
                self._failures = 0
                continue
            attempts += 1
            is_over = isinstance(trouble, Refused) or time.monotonic() >= give_up_at
            if is_over and attempts >= _MIN_ATTEMPTS:
                self._lose(sent)
            else:
                parcels.append(sent.again)
                self._pause(trouble, flushes)

    def _attempt(self, parcel: Sequence[bytes]) -> tuple[Sent, Unavailable]:
        """Sends the parcel; returns the outcome, and the reason why the events to be sent again have not arrived."""
        try:
            if self._sender is None:
                self._sender = self._destination.open()
            sent = self._sender.send(parcel)
        except Unavailable as error:
            return Sent(again=parcel, again_code=error.code), error
        except Unacceptable:
            raise
        except BaseException as error:  # noqa: BLE001 - any code may fail, the caller's too; the thread must go on
            trouble = Unavailable("failed", type(error).__name__)
            return Sent(again=parcel, again_code=trouble.code), trouble
        return sent, Unavailable(sent.again_code, sent.again_code)

    def _parts(self, parcel: Sequence[bytes], error: Unacceptable) -> list[Sequence[bytes]]:
        """Returns the halves of a parcel that was not accepted; rejects a single event."""
        if len(parcel) == 1:
            self._settle(Sent(rejected=[error.code]))
            return []
        half = len(parcel) // 2
        return [parcel[half:], parcel[:half]]

    def _settle(self, sent: Sent) -> None:
        rejected = Counter(sent.rejected)
        self._backlog.settle(
            Stats(accepted=sent.accepted, ignored=sent.ignored, rejected=rejected.total(), reasons=rejected)
        )
        if rejected:
            self._warn("some events were rejected")

    def _lose(self, sent: Sent) -> None:
        count = len(sent.again)
        self._backlog.settle(Stats(lost=count, reasons={sent.again_code: count}))
        self._warn("some events were given up")

    def _pause(self, trouble: Unavailable, flushes: int) -> None:
        """Waits before the next attempt: longer after each failure, as long as the server asks, within the limit."""
        self._warn(f"some events could not be sent and will be retried ({trouble})")
        longest = self._limits.longest_pause_seconds
        doubled = self._limits.first_pause_seconds * 2 ** min(self._failures, _MAX_DOUBLINGS)
        self._failures += 1
        chance = random.uniform(0, min(longest, doubled))  # noqa: S311 - publishers must not retry in step
        self._backlog.pause(max(chance, min(longest, trouble.retry_after)), flushes)

    def _warn(self, cause: str) -> None:
        self._warnings.warn(cause, self._backlog.stats())
