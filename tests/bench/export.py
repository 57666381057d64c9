"""A CSV of `usage-events export`, against the stores' own CSV of the same events."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from functions.graphql.query.selection import Selection
from functions.shared import clickhouse
from functions.shared.catalog import registry
from functions.shared.clickhouse import READ_SETTINGS
from infra.operations.export.export import EventExport
from infra.operations.export.output import CountedOutput
from infra.operations.export.selection import selection_of
from infra.operations.export.sources import Source
from infra.operations.export.writers import Format, writer
from tests.bench.dataset import Dataset, dataset
from tests.bench.measure import Measurement, against, by_turns, rates

TURNS = 3
WARM_UP = 1
SECONDS = 600
FEW_DAYS, MANY_DAYS = 1, 20  # about 54,000 and 1,090,000 events
WEEK = 7

COPY = """
    COPY (
        SELECT id, timestamp, event, user_id, namespace_path, project_id, payload
        FROM ai_usage_events
        WHERE timestamp >= {start} AND timestamp < {end}
    ) TO STDOUT (FORMAT csv)
"""
SELECT = """
    SELECT id, timestamp, event, user_id, namespace_path, project_id, payload
    FROM ai_usage_events FINAL
    WHERE timestamp >= {start:DateTime} AND timestamp < {end:DateTime}
    FORMAT CSV
"""

# The peak memory of a process that exports, in MB, and the number of events.
PEAK = """
import os, sys
from datetime import date
from tests.bench.export import export, selected
from tests.support.process_memory import print_outcome
url, clickhouse_url, source, start, end = sys.argv[1:]
with open(os.devnull, "wb") as file:
    selection = selected(url, date.fromisoformat(start), date.fromisoformat(end))
    print_outcome(export(url, clickhouse_url, source, selection, file))
"""


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `export_postgres`, `export_clickhouse` and `export_memory`."""
    with dataset(folder) as found:
        start = found.last_day - timedelta(days=WEEK - 1)
        selection = selected(found.large, start, found.last_day)
        yield _measured("export_postgres", found, "postgresql", selection, _copy)
        yield _measured("export_clickhouse", found, "clickhouse", selection, _select)
        few, many = (_peak(found, days) for days in (FEW_DAYS, MANY_DAYS))
        yield against("export_memory", round(many), "MB", round(few))


def selected(url: str, start: date, end: date) -> Selection:
    """The events of these days."""
    filters = {"startDate": [start.isoformat()], "endDate": [end.isoformat()]}
    return selection_of(url, registry.load(), end, None, filters)


def export(url: str, clickhouse_url: str, source: str, selection: Selection, file: Any) -> int:
    """Writes a CSV of the events, and returns how many there are."""
    exporter = EventExport(url, registry.load(), clickhouse_url, Source(source))
    return exporter.export(selection, writer(Format.csv, CountedOutput("nowhere", file), spreadsheet=False)).events


def _measured(name: str, found: Dataset, source: str, selection: Selection, raw: Any) -> Measurement:
    with Path("/dev/null").open("wb") as file:
        own = partial(export, found.large, found.clickhouse, source, selection, file)
        seconds = by_turns(TURNS, WARM_UP, own, partial(raw, found, selection))
        return rates(name, own(), "events", *seconds)


def _copy(found: Dataset, selection: Selection) -> None:
    with psycopg.connect(found.large) as connection, connection.cursor() as cursor:
        values = {name: psycopg.sql.Literal(getattr(selection, name)) for name in ("start", "end")}
        with cursor.copy(psycopg.sql.SQL(COPY).format(**values)) as copy:
            for _ in copy:
                pass


def _select(found: Dataset, selection: Selection) -> None:
    with closing(clickhouse.connect(found.clickhouse, SECONDS)) as client:
        values = {"start": selection.start, "end": selection.end}
        with client.raw_stream(SELECT, parameters=values, settings=READ_SETTINGS) as stream:
            while stream.read(2**20):
                pass


def _peak(found: Dataset, days: int) -> float:
    """The highest memory of a process that exports so many days, the higher of both stores."""
    start = found.last_day - timedelta(days=days - 1)
    peaks = []
    for source in ("postgresql", "clickhouse"):
        arguments = (found.large, found.clickhouse, source, str(start), str(found.last_day))
        command = [sys.executable, "-c", PEAK, *arguments]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        peaks.append(float(printed.split()[-1]))
    return max(peaks)
