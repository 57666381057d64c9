"""`python -m tests.bench`: runs every benchmark and its baseline in the same run."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.bench import analysis, cold, consume, end_to_end, fairness, ingest, pages, sync
from tests.bench.dataset import dataset
from tests.bench.engines import postgres_server
from tests.bench.measure import Measurement
from tests.support.clickhouse import serve_clickhouse

FOLDER = Path(".local/bench")
RESULTS = Path(".local/bench.json")

console = Console(width=120)


def _cold(folder: Path) -> Iterator[Measurement]:
    console.print("The functions start …")
    yield from cold.measure(folder)


def _ingest(_: Path) -> Iterator[Measurement]:
    console.print("The ingest function takes in requests …")
    yield from ingest.measure()


def _end_to_end(folder: Path) -> Iterator[Measurement]:
    console.print("Events go through the local stack …")
    yield from end_to_end.measure(folder)


def _store(folder: Path) -> Iterator[Measurement]:
    with postgres_server(folder) as server, serve_clickhouse(folder) as clickhouse_url:
        console.print(f"The consumer stores {consume.EVENTS:,} events …")
        yield from consume.measure(server)
        console.print("The sync copies them …")
        yield from sync.measure(server, clickhouse_url)


def _read(folder: Path) -> Iterator[Measurement]:
    with dataset(folder) as made:
        console.print("GraphQL reads pages of events from PostgreSQL …")
        yield from pages.measure(made)
        console.print("GraphQL searches and counts events in ClickHouse …")
        yield from analysis.measure(made)


def _fair(folder: Path) -> Iterator[Measurement]:
    console.print("A tenant is answered while another asks for as much as it can …")
    yield from fairness.measure(folder)


PARTS: dict[str, Callable[[Path], Iterator[Measurement]]] = {
    "cold": _cold,
    "ingest": _ingest,
    "end_to_end": _end_to_end,
    "store": _store,
    "read": _read,
    "fair": _fair,
}


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"Of {', '.join(PARTS)}; else all.")
    ] = None,
) -> None:
    """Run the benchmarks, print them as a table, and write them to .local/bench.json."""
    if unknown := set(parts or ()) - PARTS.keys():
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}", param_hint="PART")
    logging.disable(logging.WARNING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = []
    for name, measure in PARTS.items():
        if parts and name not in parts:
            continue
        for measurement in measure(FOLDER.absolute() / name):
            console.print(f"{measurement.name}: {measurement.ratio}")
            found.append(measurement)
            RESULTS.write_text(json.dumps([one.as_json() for one in found], indent=2) + "\n")
    console.print(_table(found))


def _table(found: list[Measurement]) -> Table:
    table = Table("benchmark", "value", "baseline", "unit", "ratio", "goal", "")
    for one in found:
        goal = f"{'at most' if one.lower_is_better else 'at least'} {one.goal}"
        reached = "reached" if one.is_reached else "missed"
        table.add_row(one.name, f"{one.value:,}", f"{one.baseline:,}", one.unit, str(one.ratio), goal, reached)
    return table


if __name__ == "__main__":
    typer.run(main)
