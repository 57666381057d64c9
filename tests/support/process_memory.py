"""The highest memory of a process in which a function handles one thing after another."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    """How the function handled a thing, and the highest memory of the process by then.

    Attributes:
        answer: what the function answered, in a few words.
    """

    name: str
    answer: str
    megabytes: float


def print_outcome(answer: object) -> None:
    """Prints an answer and the highest memory of this process, for `outcomes_of`."""
    print(f"{answer} {_peak_megabytes():.1f}", flush=True)


def outcomes_of(module: str, names: Iterable[str], *arguments: object) -> list[Outcome]:
    """Runs a module in a process of its own, as Lambda would, and returns what it printed of each thing."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    answers = (line.rpartition(" ") for line in printed if not line.startswith("{"))  # the others are metrics
    return [
        Outcome(name, answer, float(megabytes)) for name, (answer, _, megabytes) in zip(names, answers, strict=True)
    ]


def _peak_megabytes() -> float:
    """Returns the highest memory of this process. Linux counts that of its parent in `ru_maxrss`, too."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    found = re.search(r"VmHWM:\s*([0-9]+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
