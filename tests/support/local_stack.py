"""Runs the local stack from a copy of this checkout."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from infra.local.process import RECORD
from tests.support.environment import without_the_callers_system

START_SECONDS = 600  # the first time, tools are installed


@contextmanager
def running(checkout: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the stack of the checkout on a free port while the block runs.

    Yields the stack's process.

    Args:
        checkout: a copy by `tests.support.checkout.copy`; `stack.json` is in its folder `.local`.
        options: options of `python -m infra.local start`.
    """
    stack_file = checkout / ".local" / "stack.json"
    command = [sys.executable, "-m", "infra.local", "start", *options]
    environment = without_the_callers_system(os.environ)
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not stack_file.exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        assert process.wait() == 0
        assert not stack_file.exists()
        assert left_of(checkout) == []


def left_of(checkout: Path) -> list[str]:
    """Returns the command lines of the processes that the stack of a checkout started, or that work in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # the process ended, or belongs to another user
            command = process.cmdline()
            marks = (*command, process.cwd(), process.environ().get(RECORD, ""))
            if any(str(checkout) in mark for mark in marks):
                found.append(" ".join(command))
    return found
