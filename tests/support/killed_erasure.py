"""Erases a user in processes that are killed at lines chosen by chance, then wholly.

Run with the URLs of both stores and the user's id; prints how often a process was killed.
"""

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject

OWN_CODE = str(Path(__file__).parents[2] / "infra" / "operations" / "erasure")


def erase(database_url: str, clickhouse_url: str, user: str, die_at: int | None) -> None:
    """Erases the user; the process kills itself at the line `die_at`."""

    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(OWN_CODE):
            return None
        if event == "line":
            lines += 1
            if lines == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    erased = Eraser(database_url, clickhouse_url).erase(Subject("user", user), "a test")
    sys.settrace(None)
    assert erased.clickhouse == "done", erased.failure


def main() -> None:
    database_url, clickhouse_url, user, times, most_lines = sys.argv[1:]
    killed = 0
    for number in range(int(times)):
        die_at = random.Random(number).randint(1, int(most_lines))
        process = os.fork()
        if process == 0:
            erase(database_url, clickhouse_url, user, die_at)
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    erase(database_url, clickhouse_url, user, None)
    print(killed)


if __name__ == "__main__":
    main()
