"""`python -m tests.bench`: runs every benchmark and its baseline in the same run."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from msgspec.structs import replace
from rich.console import Console

from tests.bench import (
    analysis,
    cold,
    consume,
    dashboard,
    end_to_end,
    export,
    fairness,
    flood,
    ingest,
    machine,
    memory,
    pages,
    results,
    sync,
)
from tests.bench.measure import Measurement

FOLDER = Path(".local/bench")
RESULTS = Path(".local/bench.json")
BUSY = 0.2  # processors that others keep busy; with more, the ratios say little

console = Console(width=160, file=sys.stdout)


class Part(NamedTuple):
    """Rows that are measured together.

    Attributes:
        doing: what is said while it runs.
        measure: yields the rows; works in a folder below the one it is given.
    """

    doing: str
    measure: Callable[[Path], Iterator[Measurement]]


PARTS = {
    "cold": Part("The functions start", cold.measure),
    "ingest": Part("The ingest function takes in requests", ingest.measure),
    "consume": Part("The consumer stores events", consume.measure),
    "sync": Part("The sync copies events to ClickHouse", sync.measure),
    "pages": Part("GraphQL reads pages of events from PostgreSQL", pages.measure),
    "analysis": Part("GraphQL searches and counts events in ClickHouse", analysis.measure),
    "dashboard": Part("The dashboard is opened", dashboard.measure),
    "export": Part("Events are exported as CSV", export.measure),
    "memory": Part("The functions take in the worst that may reach them", memory.measure),
    "fair": Part("A tenant is answered while another asks for as much as it can", fairness.measure),
    "flood": Part("A tenant's events are stored while another floods the queue", flood.measure),
    "end_to_end": Part("Events go through the local stack", end_to_end.measure),
}


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"Of {', '.join(PARTS)}; else all.")
    ] = None,
) -> None:
    """Run the benchmarks, print them as a table, and write them to .local/bench.json.

    Rows that are not measured stay in the file as they were.
    """
    if unknown := set(parts or ()) - PARTS.keys():
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}", param_hint="PART")
    logging.disable(logging.WARNING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with Path(os.devnull).open("w") as metrics, redirect_stdout(metrics):
        found = [one for name in PARTS if not parts or name in parts for one in _measured(name, PARTS[name])]
    console.print(results.table(found))
    console.print(f"All of it took {time.monotonic() - start:.0f} s")


def _measured(name: str, part: Part) -> list[Measurement]:
    """Measures a part, and writes each row as soon as it is known; a part that fails keeps the rows it has."""
    start, load = time.monotonic(), machine.load()
    console.print(f"{name}: {part.doing} …")
    _warn_of_load(load)
    found: list[Measurement] = []
    for one in part.measure(FOLDER.absolute()):
        console.print(f"{one.name}: {one.ratio}")
        found.append(replace(one, load=load, measured_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"))
        results.write(RESULTS, found)
    load_after = machine.load()
    _warn_of_load(load_after)
    found = [replace(one, load=max(load, load_after)) for one in found]
    results.write(RESULTS, found)
    console.print(f"{name} took {time.monotonic() - start:.0f} s")
    return found


def _warn_of_load(load: float) -> None:
    if load > BUSY:
        console.print(f"[yellow]Others keep {load:.2f} processors busy: the results say little[/yellow]")


if __name__ == "__main__":
    typer.run(main)
