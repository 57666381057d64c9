"""How the test of steady load tells a curve that is flat from one that grows."""

import csv
import math
import os
import random
from pathlib import Path
from uuid import uuid4

import pytest

from infra.operations.load import Figures
from tests.support.steady_load import FUNCTIONS, TIMES, Watched, grown, growth, write

MINUTES = 60


def flat(number: int) -> dict[str, float]:
    """A row of a run whose memory and times only vary by chance."""
    chance = random.Random(number)
    memory = {name: 90 + chance.uniform(-3, 3) for name in FUNCTIONS}
    return memory | {f"{name}_p50": 0.2 * chance.uniform(0.5, 1.5) for name in TIMES}


def test_what_varies_by_chance_is_flat() -> None:
    assert grown([flat(number) for number in range(MINUTES)]) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_that_leaks_half_a_megabyte_a_minute_is_found(name: str) -> None:
    rows = [flat(number) for number in range(MINUTES)]
    leaking = [row | {name: row[name] + number} for number, row in enumerate(rows)]
    (found,) = grown(leaking)
    assert found.startswith(f"{name} grew from ")


@pytest.mark.parametrize("name", TIMES)
def test_times_that_rise_with_what_is_stored_are_found(name: str) -> None:
    rows = [flat(number) for number in range(MINUTES)]
    rising = [row | {f"{name}_p50": row[f"{name}_p50"] + number**2 / 500} for number, row in enumerate(rows)]
    (found,) = grown(rising)
    assert found.startswith(f"{name}_p50 grew from ")


def test_the_warm_up_and_a_few_slow_minutes_count_for_nothing() -> None:
    rows = [flat(number) for number in range(MINUTES)]
    slow = {f"{name}_p50": 30.0 for name in TIMES} | dict.fromkeys(FUNCTIONS, 500.0)
    for number in (0, 1, 47, 50, 55, 59):
        rows[number] = slow
    assert grown(rows) == []


def test_a_minute_in_which_nothing_was_sent_has_no_times() -> None:
    rows = [flat(number) for number in range(MINUTES)]
    rows[50] = rows[50] | {f"{name}_p50": math.nan for name in TIMES}
    assert grown(rows) == []
    assert growth([{"memory": 1.0}], "memory") == pytest.approx((math.nan, 1.0), nan_ok=True)


def test_each_part_of_a_run_has_a_row_of_its_own(tmp_path: Path) -> None:
    watched, figures = Watched(os.getpid(), lambda: False, parts=2, part_seconds=10, query_seconds=15), Figures()
    for second in (3, 13):
        figures.answered(second, 0, 0.25, [uuid4()], 0)
    for elapsed in (5.0, 10.0, 15.0, 20.0):
        watched(elapsed, figures)
    watched.close()
    rows = watched.rows(figures)
    write(tmp_path / "curve.csv", rows)
    assert [(row["seconds"], row["accepted"], row["request_p50"]) for row in rows] == [(10, 1, 0.25), (20, 1, 0.25)]
    with (tmp_path / "curve.csv").open(newline="") as file:
        assert [row["unanswered"] for row in csv.DictReader(file)] == ["0.0", "1.0"]
