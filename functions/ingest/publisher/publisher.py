"""What takes events from the threads of a program and sends them in the background."""

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
_deliveries: set[Delivery] = set()  # that are not at their end, also those of publishers that are gone
_awaited_by = 0  # the process whose end waits for the events


class Publisher:
    """Sends events to one destination.

    It may be used by any number of threads. A forked process begins with nothing waiting and counts anew; what waited
    is sent by the process that took it. At the end of the process, what waits is sent, within `exit_seconds`; so is
    what a publisher that nobody refers to any more has taken, whose thread then ends.

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
        """Has what waits sent, after which the thread ends."""
        if not sys.is_finalizing():  # a thread that is stopped for good may hold the lock
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
        """Takes an event, to be sent in the background; what goes wrong is counted, and never raised.

        Its id and time are made now, so that it is one event however often it is sent. It is written down now, too:
        what is changed afterwards does not change it.

        Args:
            event: the name that its definition gives it.
            user: an id, a mapping, or any object with `id` and perhaps `username`; if not given, the token's user.
            project: an id, a mapping, or any object with `id`, and perhaps `full_path` and `namespace`.
            namespace: an id, a path of ids like `27/28/`, a mapping, or any object with `id`, `path` or `full_path`.
            additional_properties: makes it an internal event, which is ignored where no definition names it.
            context: what else the transformations shall see, and any other base attribute, like `timestamp`.
        """
        try:
            encoded = encode_event(event, user, project, namespace, additional_properties, context)
        except Exception as error:  # noqa: BLE001 - the code of any object may have run
            self._reject("not_json", f"one is no JSON ({type(error).__name__})")
            return
        if len(encoded) > MAX_EVENT_BYTES:
            self._reject("too_large", f"one has {len(encoded)} bytes, of at most {MAX_EVENT_BYTES}")
            return
        if not self._backlog.put(encoded):
            self._warnings.warn("one is lost, which found no room or came after the end", self.stats())
        elif not self._is_sending:
            self._start_sending()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Has what was tracked until now sent at once, and waits for it at most so long.

        To be called where the process may stop running afterwards, like at the end of a Lambda handler.

        Returns:
            Whether none of it waits any more: it was accepted, ignored, rejected or lost.
        """
        return self._backlog.flush(seconds)

    def close(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Takes no more events, and waits as `flush` does; what still waits then goes on being sent."""
        self._backlog.close()
        return self.flush(seconds)

    def stats(self) -> Stats:
        """What became of the events that were tracked, in this process."""
        return self._backlog.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start_afresh(self) -> None:
        """Forgets all that was tracked, and the thread that sends it, which a forked process does not have."""
        self._backlog = Backlog(self._limits, self._destination.max_bytes)
        self._warnings = Warnings()
        self._delivery = Delivery(self._destination, self._backlog, self._limits, self._warnings)
        self._start_lock = threading.Lock()
        self._is_sending = False

    def _reject(self, code: str, cause: str) -> None:
        self._backlog.count(Stats(rejected=1, reasons={code: 1}))
        self._warnings.warn(cause, self.stats())

    def _start_sending(self) -> None:
        """Starts the thread, unless there is one."""
        if not self._start_lock.acquire(blocking=False):
            return  # another thread is about to
        try:
            if not self._is_sending:
                _deliveries.add(self._delivery)
                threading.Thread(target=_deliver, args=[self._delivery], name="ai-usage-events", daemon=True).start()
                self._is_sending = True
                _finish_at_exit()
        except RuntimeError as error:  # no thread is to be had; the next event may find one
            self._warnings.warn(f"they can't be sent at the moment ({error})", self.stats())
        finally:
            self._start_lock.release()


def _deliver(delivery: Delivery) -> None:
    """What the thread of a publisher does; it does not refer to the publisher, so that this may go before it."""
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
    """Has the end of this process wait for the events, also where `multiprocessing` made it forget what was said."""
    global _awaited_by
    if _awaited_by != os.getpid():
        _awaited_by = os.getpid()
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)


_finish_at_exit()
os.register_at_fork(after_in_child=_start_all_afresh)
