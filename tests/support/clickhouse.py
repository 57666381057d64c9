"""Runs a ClickHouse server for tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.process import Processes
from infra.local.stack import start_clickhouse


@contextmanager
def serve_clickhouse(folder: Path, *, anew: bool = True) -> Iterator[str]:
    """Runs a server, empty or on the folder's data; yields its URL."""
    processes = Processes(folder / "processes.json")
    processes.stop()  # what a killed run left
    if anew:
        shutil.rmtree(folder / "clickhouse", ignore_errors=True)
    try:
        yield start_clickhouse(folder, folder / "clickhouse.log", processes)
    finally:
        processes.stop()
