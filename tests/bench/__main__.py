"""`python -m tests.bench`: every benchmark, each against something else that is measured in the same run."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import analysis, cold, consume, end_to_end, ingest, pages, sync
from tests.bench.dataset import dataset
from tests.bench.engines import postgres_server
from tests.bench.measure import Measurement
from tests.clickhouse import serve_clickhouse

FOLDER = Path(".local/bench")
RESULTS = Path(".local/bench.json")

console = Console(width=120)


def main() -> None:
    """Measures everything, shows it in a table and writes it to `.local/bench.json`."""
    logging.disable(logging.WARNING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = []
    for measurement in _measurements():
        console.print(f"{measurement.name}: {measurement.ratio}")
        found.append(measurement)
        RESULTS.write_text(json.dumps([one.as_json() for one in found], indent=2) + "\n")
    console.print(_table(found))


def _measurements() -> Iterator[Measurement]:
    folder = FOLDER.absolute()
    console.print("The functions start …")
    yield from cold.measure(folder / "cold")
    console.print("The ingest function takes in requests …")
    yield from ingest.measure()
    console.print("Events go through the local stack …")
    yield from end_to_end.measure(folder / "end_to_end")
    with postgres_server(folder) as server, serve_clickhouse(folder) as clickhouse_url:
        console.print(f"The consumer stores {consume.EVENTS:,} events …")
        yield from consume.measure(server)
        console.print("The sync copies them …")
        yield from sync.measure(server, clickhouse_url)
    with dataset(folder / "read") as made:
        console.print("GraphQL reads pages of events from PostgreSQL …")
        yield from pages.measure(made)
        console.print("GraphQL searches and counts events in ClickHouse …")
        yield from analysis.measure(made)


def _table(found: list[Measurement]) -> Table:
    table = Table("benchmark", "value", "baseline", "unit", "ratio", "goal", "")
    for one in found:
        goal = f"{'at most' if one.lower_is_better else 'at least'} {one.goal}"
        reached = "reached" if one.is_reached else "missed"
        table.add_row(one.name, f"{one.value:,}", f"{one.baseline:,}", one.unit, str(one.ratio), goal, reached)
    return table


if __name__ == "__main__":
    main()
