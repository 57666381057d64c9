"""A function's cold start: importing its handler, against importing the libraries that it can't do without."""

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infra.local import aws, tools
from tests.bench.measure import Measurement, times

TURNS = 15
WARM_UP = 2
GOAL = 1.3

# Nothing connects when it is imported, so nobody needs to answer there.
ENVIRONMENT = aws.ACCOUNT | {
    "AUTH_SECRET": "a secret of thirty-two characters, at least",
    "QUEUE_URL": "https://queue",
    "DATABASE_URL": "postgresql://database",
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
    """What is measured: a handler with its extra, and what its libraries need by themselves."""

    extra: str
    handler: str
    libraries: str


STARTS = {
    "cold_ingest": Start("ingest-api", "functions.ingest.api", "import boto3; boto3.client('sqs')"),
    "cold_consumer": Start("ingest-consumer", "functions.ingest.consumer", "import boto3, psycopg"),
    "cold_graphql": Start("graphql", "functions.graphql.api", "import ariadne, psycopg, clickhouse_connect"),
    "cold_sync": Start("sync", "functions.sync.function", "import psycopg, clickhouse_connect"),
}


def measure(folder: Path) -> Iterator[Measurement]:
    """`cold_ingest`, `cold_consumer`, `cold_graphql`, `cold_sync`: with the code copied into `folder`, and compiled."""
    _compile(folder)
    for name, start in STARTS.items():
        path = f"{folder}:{_dependencies(start.extra)}"
        statements = (f"import {start.handler}", start.libraries)
        taken = [[_seconds(statement, path) for statement in statements] for _ in range(WARM_UP + TURNS)]
        own, libraries = zip(*taken[WARM_UP:], strict=True)
        yield times(name, own, libraries, GOAL)


def _compile(folder: Path) -> None:
    """Makes the folder hold the functions and the definitions, compiled."""
    shutil.rmtree(folder, ignore_errors=True)
    for package in ("definitions", "functions"):
        shutil.copytree(tools.ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if not compileall.compile_dir(folder, quiet=1):
        raise RuntimeError(f"Not everything in {folder} can be compiled")


def _dependencies(extra: str) -> Path:
    """The folder of the extra's locked packages that the Makefile keeps for the builds; made as there, if missing."""
    requirements = tools.ROOT / "requirements" / f"{extra}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = tools.ROOT / ".local" / "packages" / f"{extra}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            target = Path(scratch) / extra
            _install(requirements, target)
            target.rename(folder)
    return folder


def _install(requirements: Path, target: Path) -> None:
    command = [tools.uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)]
    options = ["--require-hashes", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    compiled = {"PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}
    subprocess.run(
        [*command, *options, "--compile-bytecode", "--requirements", str(requirements)],
        env=os.environ | compiled,
        check=True,
    )
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)


def _seconds(statements: str, path: str) -> float:
    """How long the statements take in a new interpreter that finds modules on the path alone."""
    command = [*PYTHON, TIMED.format(statements=statements)]
    environment = ENVIRONMENT | {"PYTHONPATH": path}
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
