"""Kills processes at lines chosen by chance."""

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_OPERATIONS = Path(__file__).parents[2] / "infra" / "operations"


def run_killed(
    work: Callable[[], object], operation: str, times: int, most_lines: int, modules: tuple[str, ...] = (".py",)
) -> int:
    """Does the work in processes that are killed, then wholly in this one; returns how often a process was killed.

    Args:
        operation: folder of `infra/operations` in whose code the processes die.
        times: number of processes. One that reaches its end first is not killed.
        most_lines: each process dies at one of this many lines.
        modules: ends of the names of the files in whose code the processes die.
    """
    own_code, killed = str(_OPERATIONS / operation), 0
    for number in range(times):
        die_at = random.Random(number).randint(1, most_lines)
        process = os.fork()
        if process == 0:
            sys.settrace(_killing(own_code, modules, die_at))
            work()
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    work()
    return killed


def _killing(own_code: str, modules: tuple[str, ...], die_at: int) -> Callable[[FrameType, str, Any], Any]:
    """Returns a trace function that kills its process at a line of this code, counted from the start."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        name = frame.f_code.co_filename
        if not name.startswith(own_code) or not name.endswith(modules):
            return None
        if event == "line":
            lines += 1
            if lines == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
