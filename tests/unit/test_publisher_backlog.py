"""The backlog of a publisher, interrupted by signals and finalizers between any two lines."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from functions.ingest.publisher import Limits, Stats
from functions.ingest.publisher.backlog import Backlog

LONG = 30.0
EVENT = b'{"event":"troubleshoot_job"}'
MANY_LINES = 20  # more than `Backlog.put` has
LINES_TO_THE_WAIT = 10  # of `Backlog.next_batch`, where there are no events


class Interruption:
    """A trace function for `sys.settrace` that calls a function before a numbered line of a method."""

    def __init__(self, method: Callable[..., Any], number: int, act: Callable[[], object]) -> None:
        self.code = method.__code__
        self.number, self.act = number, act
        self.lines: set[int] = set()

    def __call__(self, frame: FrameType, kind: str, _: object) -> "Interruption | None":
        if frame.f_code is not self.code:
            return None
        if kind == "line" and frame.f_lineno not in self.lines:
            self.lines.add(frame.f_lineno)
            if len(self.lines) == self.number:
                self.act()
        return self


def traced(call: Callable[[], object], interruption: Interruption) -> None:
    before = sys.gettrace()
    sys.settrace(interruption)
    try:
        call()
    finally:
        sys.settrace(before)


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(Limits(batch_seconds=0.001), 1_000)


def accept_all(backlog: Backlog) -> None:
    while (batch := backlog.next_batch()) is not None:
        backlog.settle(Stats(accepted=len(batch)))


@pytest.fixture
def accepting(backlog: Backlog) -> Iterator[threading.Thread]:
    """Runs a thread that accepts the events in the backlog and waits for more."""
    thread = threading.Thread(target=accept_all, args=[backlog], daemon=True)
    thread.start()
    backlog.put(EVENT)
    assert backlog.flush(LONG)
    yield thread
    backlog.close()
    thread.join(LONG)
    assert not thread.is_alive()


def assert_accepted(count: int, backlog: Backlog) -> None:
    give_up = time.monotonic() + LONG
    while backlog.stats() != Stats(accepted=count):
        assert time.monotonic() < give_up
        time.sleep(0.001)


@pytest.mark.parametrize("line", range(1, MANY_LINES))
def test_an_event_that_is_put_while_another_is_put_is_sent_as_soon(
    line: int, backlog: Backlog, accepting: threading.Thread
) -> None:
    interruption = Interruption(Backlog.put, line, lambda: backlog.put(EVENT))
    traced(lambda: backlog.put(EVENT), interruption)
    assert_accepted(3 if len(interruption.lines) >= line else 2, backlog)


@pytest.mark.parametrize("line", range(1, MANY_LINES))
def test_an_event_is_sent_that_is_put_while_a_signal_waits_for_others(
    line: int, backlog: Backlog, accepting: threading.Thread
) -> None:
    traced(lambda: backlog.put(EVENT), Interruption(Backlog.put, line, lambda: backlog.flush(0.01)))
    assert_accepted(2, backlog)


@pytest.mark.parametrize("line", range(1, LINES_TO_THE_WAIT + 1))
@pytest.mark.parametrize("events", [0, 1])
def test_what_a_finalizer_does_in_the_thread_that_is_about_to_wait_is_seen_there(
    events: int, line: int, backlog: Backlog
) -> None:
    def put_and_close() -> None:
        for _ in range(events):
            backlog.put(EVENT)
        backlog.close()

    interruption = Interruption(Backlog.next_batch, line, put_and_close)
    thread = threading.Thread(target=traced, args=[lambda: accept_all(backlog), interruption], daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    assert backlog.stats() == Stats(accepted=events)


@pytest.mark.parametrize("line", range(1, MANY_LINES))
def test_a_signals_error_during_a_put_does_not_hold_up_others(
    line: int, backlog: Backlog, accepting: threading.Thread
) -> None:
    interruption = Interruption(Backlog.put, line, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        traced(lambda: backlog.put(EVENT), interruption)
    backlog.put(EVENT)
    assert backlog.flush(LONG)
    assert backlog.stats() in (Stats(accepted=2), Stats(accepted=3))


def _interrupt() -> None:
    raise KeyboardInterrupt
