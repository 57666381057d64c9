"""Copies of this checkout, for tests that change its files or deploy it."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("definitions", "functions", "infra", "requirements")
FILES = ("Makefile", "samconfig.toml", "pyproject.toml", ".python-version")
SHARED = (".venv", ".local/tools", ".local/packages")  # slow to make and the same for all


def copy(checkout: Path) -> Path:
    """Copies the deployed files to a new folder, and returns the folder."""
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules", "dist")
        )
    for name in FILES:
        shutil.copy(ROOT / name, checkout)
    for name in ("pyproject.toml", ".python-version", "requirements/dev.txt"):
        os.utime(checkout / name, (0, 0))  # older than the environment, so that the copy does not make it anew
    (checkout / ".local").mkdir()
    for name in SHARED:
        (ROOT / name).mkdir(parents=True, exist_ok=True)
        (checkout / name).symlink_to(ROOT / name)
    return checkout
