"""The highest memory of this process."""

import re
import resource
import sys
from pathlib import Path


def peak_megabytes() -> float:
    """Returns the highest memory of this process. Linux counts that of its parent in `ru_maxrss`, too."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    found = re.search(r"VmHWM:\s*([0-9]+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
