"""Puts folders in their place that several builds may make at once, and their files in packages."""

import os
import shutil
from pathlib import Path


def rename_unless_there(scratch: Path, folder: Path) -> None:
    """Rename the folder; where another build was faster, its folder stays."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def link_or_copy(source: str, target: str) -> None:
    """Link the file, or copy it where the file system can't."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
