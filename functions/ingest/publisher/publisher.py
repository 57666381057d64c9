"""Takes events from the threads of a program and sends them in the background."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.publisher.backlog import Backlog
from functions.ingest.publisher.delivery import Delivery, Warnings
from functions.ingest.publisher.destination import Destination
from functions.ingest.publisher.limits import Limits
from functions.ingest.publisher.stats import Stats
from functions.ingest.publisher.tracked_event import encode_event

FLUSH_SECONDS = 5.0
DEFAULT_LIMITS = Limits()

_publishers: "WeakSet[Publisher]" = WeakSet()
_deliveries: set[Delivery] = set()  # deliveries that have not ended, including those of deleted publishers
_awaited_by = 0  # id of the process that waits for the events at its end


class Publisher:
    """Sends events to one destination.

    Any number of threads may use a publisher. A forked process starts with an empty backlog and counts from 0; the
    parent process sends the events it took. At the end of the process the waiting events are sent, within
    `exit_seconds`. The events of a deleted publisher are sent too, and then its thread ends.

    Args:
        destination: an `HttpsDestination` or `QueueDestination`.
        limits: see `Limits`.
    """

    def __init__(self, destination: Destination, limits: Limits = DEFAULT_LIMITS) -> None:
        self._destination = destination
        self._limits = limits
        self._start_afresh()
        _publishers.add(self)

    def __del__(self) -> None:
        """Sends the waiting events, after which the thread ends."""
        if not sys.is_finalizing():  # a thread that was stopped for good may hold the lock
            self._backlog.close()

    def track_event(
        self,
        event: str,
        /,
        *,
        user: object = None,
        project: object = None,
        namespace: object = None,
        additional_properties: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> None:
        """Takes an event to be sent in the background. Never raises; failures are counted.

        Id and timestamp are set now, so that retries send the same event. The event is also encoded now: later changes
        to the arguments have no effect.

        Args:
            event: name of the event in its definition.
            user: an id, a mapping, or any object with `id` and perhaps `username`; by default the token's user.
            project: an id, a mapping, or any object with `id`, and perhaps `full_path` and `namespace`.
            namespace: an id, a traversal path like `27/28/`, a mapping, or any object with `id`, `path` or `full_path`.
            additional_properties: makes the event an internal event, which is ignored if no definition names it.
            context: further keys for the transformations, and other base attributes, like `timestamp`.
        """
        try:
            encoded = encode_event(event, user, project, namespace, additional_properties, context)
        except Exception as error:  # noqa: BLE001 - code of any argument may have run
            self._reject("not_json", f"an event is not JSON ({type(error).__name__})")
            return
        if len(encoded) > MAX_EVENT_BYTES:
            self._reject("too_large", f"an event has {len(encoded)} bytes; at most {MAX_EVENT_BYTES} are allowed")
            return
        if not self._backlog.put(encoded):
            self._warnings.warn("an event is lost: the buffer is full or the publisher is closed", self.stats())
        elif not self._is_sending:
            self._start_sending()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Sends all events tracked so far at once, and waits for at most `seconds`.

        Call it before the process may stop running, for example at the end of a Lambda handler.

        Returns:
            Whether each of these events was accepted, ignored, rejected or lost.
        """
        return self._backlog.flush(seconds)

    def close(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Stops taking events, and waits like `flush`; events that still wait are sent afterwards."""
        self._backlog.close()
        return self.flush(seconds)

    def stats(self) -> Stats:
        """Returns the outcomes of the events tracked in this process."""
        return self._backlog.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start_afresh(self) -> None:
        """Resets the backlog and the thread, which a forked process does not have."""
        self._backlog = Backlog(self._limits, self._destination.max_bytes)
        self._warnings = Warnings()
        self._delivery = Delivery(self._destination, self._backlog, self._limits, self._warnings)
        self._start_lock = threading.Lock()
        self._is_sending = False

    def _reject(self, code: str, cause: str) -> None:
        self._backlog.count(Stats(rejected=1, reasons={code: 1}))
        self._warnings.warn(cause, self.stats())

    def _start_sending(self) -> None:
        """Starts the sending thread if it is not running."""
        if not self._start_lock.acquire(blocking=False):
            return  # another thread is starting it
        try:
            if not self._is_sending:
                _deliveries.add(self._delivery)
                threading.Thread(target=_deliver, args=[self._delivery], name="ai-usage-events", daemon=True).start()
                self._is_sending = True
                _finish_at_exit()
        except RuntimeError as error:  # no thread can be started now; the next event tries again
            self._warnings.warn(f"events can't be sent now ({error})", self.stats())
        finally:
            self._start_lock.release()


def _deliver(delivery: Delivery) -> None:
    """Runs a publisher's thread. Does not refer to the publisher, so that the publisher can be deleted first."""
    try:
        delivery.run()
    finally:
        _deliveries.discard(delivery)


def _finish_all() -> None:
    since = time.monotonic()
    deliveries = list(_deliveries)
    for delivery in deliveries:
        delivery.hasten()
    for delivery in deliveries:
        delivery.finish(since)


def _start_all_afresh() -> None:
    _deliveries.clear()
    for publisher in list(_publishers):
        publisher._start_afresh()


def _finish_at_exit() -> None:
    """Makes the end of this process wait for the events, also after `multiprocessing` cleared the exit handlers."""
    global _awaited_by
    if _awaited_by != os.getpid():
        _awaited_by = os.getpid()
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)


_finish_at_exit()
os.register_at_fork(after_in_child=_start_all_afresh)
