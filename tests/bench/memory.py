"""The highest memory of the functions for the worst of what may reach them, against what they may take."""

from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Measurement, against
from tests.support.worst_bodies import MAX_INGEST_MEGABYTES, post_worst_bodies


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `memory_ingest`."""
    bodies = folder / "memory" / "bodies"
    bodies.mkdir(parents=True, exist_ok=True)
    peak = max(outcome.megabytes for outcome in post_worst_bodies(bodies))
    yield against("memory_ingest", round(peak), "MB", MAX_INGEST_MEGABYTES)
