"""Zips the built packages before `sam deploy` does, which compresses all of each package anew.

Most of a package are dependencies, which change only with their lock. They are compressed once, into a file beside
their folder below `.local/packages`. The zip of a package is a copy of that file, to which the other files are added.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from stat import S_IMODE
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from infra import package

_FAST = 1  # half of the time of zlib's own choice, for zips that are a twentieth larger


def zip_packages(build: Path, kept: Path) -> None:
    """Makes a zip of each package that `sam build` made, and puts their names into the built template.

    Args:
        build: the folder that `sam build` made.
        kept: the folder with the installed dependencies.
    """
    template = build / "template.yaml"
    text = template.read_text()
    for note in sorted(build.glob(f"*{package.NOTE}")):
        folder = note.with_suffix("")
        zip_package(folder, kept / note.read_text(), folder.with_suffix(".zip"))
        text = re.sub(rf"^( +CodeUri: {folder.name})$", r"\1.zip", text, flags=re.MULTILINE)
    template.write_text(text)


def zip_package(folder: Path, dependencies: Path, into: Path) -> None:
    """Makes the zip of a package. The same files make the same zip, which is uploaded only once.

    Args:
        folder: the package.
        dependencies: the folder with the dependencies in the package.
    """
    shutil.copyfile(_zip_of(dependencies), into)
    with ZipFile(into, "a") as file:
        known = set(file.namelist())
        _add(file, folder, (name for name in _files(folder) if name not in known))


def _zip_of(dependencies: Path) -> Path:
    """Returns the zip of installed dependencies, made unless it is there."""
    kept = dependencies.with_name(f"{dependencies.name}.zip")
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix=f"{dependencies.name}.", dir=dependencies.parent) as scratch:
            made = Path(scratch, kept.name)
            with ZipFile(made, "w") as file:
                _add(file, dependencies, _files(dependencies))
            made.rename(kept)
    return kept


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _add(file: ZipFile, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        entry = ZipInfo(name)  # of 1980: a time would make another zip of the same files
        entry.external_attr = S_IMODE((folder / name).stat().st_mode) << 16
        file.writestr(entry, (folder / name).read_bytes(), ZIP_DEFLATED, _FAST)
