"""The tools that are run in environments of their own."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def uv() -> str:
    """uv itself: the one on the PATH, or the one that the Makefile installed."""
    return _program("uv")


def uvx() -> str:
    """uv's program that runs tools, of the same origin."""
    return _program("uvx")


def _program(name: str) -> str:
    return shutil.which(name) or str(ROOT / ".local" / "tools" / "bin" / name)


def base_python() -> str:
    """The interpreter that the project's environment was made from."""
    return sys._base_executable  # type: ignore[attr-defined, no-any-return]
