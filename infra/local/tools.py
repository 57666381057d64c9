"""The tools that are run in environments of their own."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def uvx() -> str:
    """uv's program that runs tools: the one on the PATH, or the one that the Makefile installed."""
    return shutil.which("uvx") or str(ROOT / ".local" / "tools" / "bin" / "uvx")


def base_python() -> str:
    """The interpreter that the project's environment was made from."""
    return sys._base_executable  # type: ignore[attr-defined, no-any-return]
