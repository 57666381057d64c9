"""A ClickHouse server of the tests' own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.process import Processes
from infra.local.stack import start_clickhouse


@contextmanager
def serve_clickhouse(folder: Path, *, anew: bool = True) -> Iterator[str]:
    """The URL of a server without any data, or with what the folder holds."""
    processes = Processes(folder / "processes.json")
    processes.stop()  # what a killed run left
    if anew:
        shutil.rmtree(folder / "clickhouse", ignore_errors=True)
    try:
        yield start_clickhouse(folder, folder / "clickhouse.log", processes)
    finally:
        processes.stop()
