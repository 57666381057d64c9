"""Finds tools that run in environments of their own."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def uv() -> str:
    """Returns the path of uv: on the PATH, or installed by the Makefile."""
    return _program("uv")


def uvx() -> str:
    """Returns the path of uvx, uv's program that runs tools."""
    return _program("uvx")


def _program(name: str) -> str:
    return shutil.which(name) or str(ROOT / ".local" / "tools" / "bin" / name)


def base_python() -> str:
    """Returns the interpreter from which the project's environment was made."""
    return sys._base_executable  # type: ignore[attr-defined, no-any-return]
