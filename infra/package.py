"""Makes the deployment package of one function: `python -m infra.package`, which the Makefile runs for `sam build`.

A package holds the locked dependencies of the function's own extra and the named folders and files of this project.
All code in the package is compiled, because Lambda can't write there and would compile it again at each start.
"""

import argparse
import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from infra.kept_folder import link_or_copy, rename_unless_there

CACHE = Path(".local", "packages")
COMPILED = "__pycache__"
NOTE = ".dependencies"
"""Suffix of the file beside a package that names the folder of the package's dependencies, below `CACHE`."""


def main() -> None:
    """Make the package that the command line describes; the paths are relative to the working directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", type=Path, required=True, help="program that installs the dependencies")
    parser.add_argument("--extra", required=True, help="extra whose lock file names the dependencies")
    parser.add_argument("--platform", default="", help="platform of the dependencies' wheels; this machine's if empty")
    parser.add_argument("--into", type=Path, required=True, help="folder of the package")
    parser.add_argument("own", type=Path, nargs="+", help="folder or file of this project")
    arguments = parser.parse_args()
    try:
        dependencies = install_dependencies(arguments.uv, arguments.extra, arguments.platform)
    except subprocess.CalledProcessError:
        sys.exit(f"The dependencies in requirements/{arguments.extra}.txt can't be installed.")
    shutil.copytree(dependencies, arguments.into, symlinks=True, copy_function=link_or_copy, dirs_exist_ok=True)
    copy_own(arguments.own, arguments.into)
    arguments.into.with_suffix(NOTE).write_text(dependencies.name)


def install_dependencies(uv: Path, extra: str, platform: str) -> Path:
    """Install the locked dependencies of an extra once, and return the folder that holds them.

    Args:
        uv: the program that installs.
        extra: an extra of pyproject.toml; `requirements/EXTRA.txt` is its lock file.
        platform: a platform as `uv pip install --python-platform` takes it; this machine's if empty.

    Raises:
        subprocess.CalledProcessError: uv failed; it has printed why.
    """
    lock = Path("requirements", f"{extra}.txt")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = CACHE / "-".join([extra, platform or "this-machine", digest])
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{extra}.", dir=CACHE))
    try:
        scratch.chmod(0o755)
        command: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", scratch]
        command += ["--require-hashes", "--only-binary", ":all:", "--compile-bytecode", "--requirements", lock]
        if platform:
            command += ["--python-platform", platform]
        subprocess.run(command, env={**os.environ, "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}, check=True)
        shutil.rmtree(scratch / "bin", ignore_errors=True)
        (scratch / ".lock").unlink(missing_ok=True)
        rename_unless_there(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def copy_own(own: Iterable[Path], package: Path) -> None:
    """Copy folders and files of this project into the package, under the same relative paths, and compile them.

    Raises:
        py_compile.PyCompileError: a module is not Python; the message names it.
    """
    for path in own:
        copied = package / path
        if path.is_dir():
            shutil.copytree(path, copied, ignore=shutil.ignore_patterns(COMPILED), dirs_exist_ok=True)
        else:
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)
        for module in copied.rglob("*.py") if copied.is_dir() else [copied]:
            _compile(module, package)


def _compile(module: Path, package: Path) -> None:
    """Compile a module for its place in the package; Python never compares the result with the source."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_file(module, quiet=1, stripdir=package, invalidation_mode=unchecked):
        raise py_compile.PyCompileError(SyntaxError, SyntaxError("it can't be compiled"), str(module))


if __name__ == "__main__":
    main()
