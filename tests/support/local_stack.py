"""The local stack, run from a copy of this checkout."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.environment import without_the_callers_system

START_SECONDS = 600  # the first time, tools are installed


@contextmanager
def running(checkout: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Brings the stack of the checkout up, on an endpoint of its own, for as long as the block runs.

    Yields its process.

    Args:
        checkout: what `tests.support.checkout.copy` made; `stack.json` is in its folder `.local`.
        options: those of `python -m infra.local start`.
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
