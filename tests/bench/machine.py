"""The machine that measures: who else works on it, and which of its processors a measurement runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

LOOK_SECONDS = 1.0


def load() -> float:
    """Returns how many processors are busy while the benchmarks rest for a second."""
    busy = psutil.cpu_percent(interval=LOOK_SECONDS) / 100
    return round(busy * (psutil.cpu_count() or 1), 2)


@contextmanager
def pinned() -> Iterator[None]:
    """Keeps this thread, and the processes that it starts, on one processor; does nothing where the system can't.

    For both sides of a row that work in one thread: otherwise one of them may be moved about, or share its processor
    with a server, and the other one not.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
