"""A ClickHouse server of the tests' own."""

import subprocess
import sys
import time
from pathlib import Path

from infra.local import ports
from tests.checkout import ROOT

START_SECONDS = 60


def serve(data: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that answers on the port, and keeps its tables in the folder `data`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local.clickhouse", "--data", data, "--port", str(port)],
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
    )
    give_up = time.monotonic() + START_SECONDS
    while ports.is_free(port):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return process
