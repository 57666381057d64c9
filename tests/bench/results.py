"""Keeps the results of all parts in `.local/bench.json`, and prints them as a table."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.table import Table

from tests.bench.goals import GOALS
from tests.bench.measure import Measurement, Spread


def read(file: Path) -> list[Measurement]:
    """Returns the results of earlier runs; none if there is no file, or one of another version."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Measurement])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def write(file: Path, found: Iterable[Measurement]) -> None:
    """Replaces the file's rows of the same names, and keeps the others; rows without a goal are dropped."""
    rows = {one.name: one for one in (*read(file), *found)}
    ordered = [rows[name] for name in GOALS if name in rows]
    file.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n")


def table(found: Iterable[Measurement]) -> Table:
    """Returns the results with their spreads, the goals, and how busy the machine was with other things."""
    made = Table("benchmark", "value", "baseline", "unit", "ratio", "goal", "", "load")
    for one in found:
        made.add_row(
            one.name,
            f"{one.value:,}{_spread(one.value_spread)}",
            f"{one.baseline:,}{_spread(one.baseline_spread)}",
            one.unit,
            f"{one.ratio}{_spread(one.ratio_spread)}",
            str(GOALS[one.name]),
            "reached" if one.reached else "missed",
            "" if one.load is None else f"{one.load:.2f}",
        )
    return made


def _spread(spread: Spread | None) -> str:
    return f" ({spread[0]:,} to {spread[1]:,})" if spread else ""
