"""Refills a database in processes that are killed at lines chosen by chance, then wholly.

Run with the URLs of both stores; prints how often a process was killed.
"""

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from infra.operations.refill import month
from infra.operations.refill.refill import Refill

OWN_CODE = str(Path(__file__).parents[2] / "infra" / "operations" / "refill")


def refill(database_url: str, clickhouse_url: str, die_at: int | None) -> None:
    """Refills the database; the process kills itself at the line `die_at`."""

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
    Refill(database_url, clickhouse_url).run()
    sys.settrace(None)


def main() -> None:
    database_url, clickhouse_url, times, most_lines, rows_at_once = sys.argv[1:]
    month.ROWS_AT_ONCE = int(rows_at_once)
    killed = 0
    for number in range(int(times)):
        die_at = random.Random(number).randint(1, int(most_lines))
        process = os.fork()
        if process == 0:
            refill(database_url, clickhouse_url, die_at)
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    refill(database_url, clickhouse_url, None)
    print(killed)


if __name__ == "__main__":
    main()
