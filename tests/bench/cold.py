"""Cold start of a function: importing its handler, against importing only the libraries that it needs."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from infra.local import tools
from infra.stack_file import ACCOUNT
from tests.bench.machine import pinned
from tests.bench.measure import Measurement, clocked_by_turns, times

TURNS = 15
WARM_UP = 2

# Nothing connects when it is imported, so nobody needs to answer there.
ENVIRONMENT = ACCOUNT | {
    "AUTH_SECRET": "a secret of thirty-two characters, at least",
    "QUEUE_URL": "https://queue",
    "DATABASE_URL": "postgresql://database/events",
    "CLICKHOUSE_URL": "clickhouse://clickhouse",
}

# Started without `site`, so that no package is there but those named in PYTHONPATH.
PYTHON = (tools.base_python(), "-S", "-P", "-c")

TIMED = """
import time
start = time.perf_counter()
{statements}
print(time.perf_counter() - start)
"""


class Start(NamedTuple):
    """A function's handler, and statements that import only its libraries."""

    function: str
    handler: str
    libraries: str


STARTS = {
    "cold_ingest": Start("IngestFunction", "functions.ingest.api", "import boto3; boto3.client('sqs')"),
    "cold_consumer": Start("ConsumerFunction", "functions.ingest.consumer", "import boto3, psycopg"),
    "cold_graphql": Start("GraphqlFunction", "functions.graphql.api", "import ariadne, psycopg, clickhouse_connect"),
    "cold_sync": Start("SyncFunction", "functions.sync.function", "import psycopg, clickhouse_connect"),
}


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `cold_ingest`, `cold_consumer`, `cold_graphql` and `cold_sync`, with packages built in `folder`."""
    for name, start in STARTS.items():
        package = _package(start.function, folder / "cold" / start.function)
        with pinned():
            own, libraries = clocked_by_turns(
                TURNS,
                WARM_UP,
                partial(_seconds, f"import {start.handler}", package),
                partial(_seconds, start.libraries, package),
            )
        yield times(name, own, libraries)


def _package(function: str, folder: Path) -> Path:
    """Builds the function's package as for a deployment, and returns its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = ["make", "--no-print-directory", f"build-{function}", f"ARTIFACTS_DIR={folder}", "PACKAGES_FOR=host"]
    made = subprocess.run(command, cwd=tools.ROOT, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise RuntimeError(f"The package of {function} can't be made: {made.stderr}")
    return folder


def _seconds(statements: str, package: Path) -> float:
    """Returns the seconds of the statements in a new interpreter that imports from the package alone."""
    command = [*PYTHON, TIMED.format(statements=statements)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(package)}
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
