"""Runs a transformation again in processes that are killed at lines chosen by chance, then wholly.

Run with the URL of PostgreSQL, the file for earlier payloads and the number of processes; prints how often a process
was killed. The definitions are in the package `killed_definitions`.
"""

import os
import random
import signal
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from functions.shared.catalog.registry import load
from infra.operations.reprocess.judgement import Rules
from infra.operations.reprocess.run import Reprocess
from infra.operations.reprocess.saved import Saving
from infra.operations.reprocess.stored_events import Selection
from tests.support.clock import NOW

OWN_CODE = str(Path(__file__).parents[2] / "infra" / "operations" / "reprocess")
PLACES = ("run.py", "record.py", "saved.py", "transaction.py", "stored_events.py")
"""Where processes die: the other modules only compute."""

MOST_LINES = 30_000


def reprocess(database_url: str, file: str, die_at: int | None) -> None:
    """Halves each event once; the process kills itself at the line `die_at`."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        name = frame.f_code.co_filename
        if not name.startswith(OWN_CODE) or not name.endswith(PLACES):
            return None
        if event == "line":
            lines += 1
            if lines == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    run = Reprocess(database_url, load("killed_definitions"), Rules(once=True))
    selection = Selection((201,), NOW - timedelta(days=90), NOW + timedelta(days=1))
    if die_at is not None:
        sys.settrace(trace)
    with closing(Saving(Path(file))) as saving:
        run.apply(selection, {"of": "the test"}, "a test", saving)
    sys.settrace(None)


def main() -> None:
    database_url, file, times = sys.argv[1:]
    killed = 0
    for number in range(int(times)):
        die_at = random.Random(number).randint(1, MOST_LINES // int(times))
        process = os.fork()
        if process == 0:
            reprocess(database_url, file, die_at)
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    reprocess(database_url, file, None)
    print(killed)


if __name__ == "__main__":
    main()
