"""The benchmarks: how turns become a row, how rows are kept, and that the documentation names their goals."""

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bench import results
from tests.bench.goals import GOALS
from tests.bench.machine import load, pinned
from tests.bench.measure import Measurement, against, by_turns, clocked_by_turns, rates, times
from tests.support.checkout import ROOT


def rows(file: Path) -> list[dict[str, Any]]:
    return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])


def test_a_time_is_the_median_of_all_turns_with_its_spread() -> None:
    row = times("page_root", [0.003, 0.001, 0.002], [0.001, 0.001, 0.004])
    assert (row.value, row.unit, row.baseline, row.ratio) == (2.0, "ms", 1.0, 2.0)
    assert (row.value_spread, row.baseline_spread) == ((1.0, 3.0), (1.0, 4.0))


def test_a_rate_is_the_median_of_all_turns_with_its_spread() -> None:
    row = rates("consume_vs_upsert", 100, "rows", [1, 2, 4], [5, 10, 4])
    assert (row.value, row.unit, row.baseline, row.ratio) == (50, "rows/s", 20, 2.5)
    assert (row.value_spread, row.baseline_spread) == ((25, 100), (10, 25))


def test_the_spread_of_ratios_compares_what_was_measured_in_the_same_turn() -> None:
    assert times("page_root", [1, 4], [1, 2]).ratio_spread == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "value", "reached"),
    [
        ("page_root", 2, True),  # at most 2
        ("page_root", 2.001, False),
        ("consume_vs_upsert", 2.5, True),  # at least 2.5
        ("consume_vs_upsert", 2.499, False),
    ],
)
def test_a_goal_is_reached_from_its_own_side_only(name: str, value: float, *, reached: bool) -> None:
    assert against(name, value, "s", 1).reached is reached


def test_a_row_without_a_goal_cannot_be_measured() -> None:
    with pytest.raises(KeyError, match="page_of_nobody"):
        against("page_of_nobody", 1, "s", 1)


def test_turns_run_every_work_and_leave_out_the_warm_up() -> None:
    ran: list[str] = []
    own, others = by_turns(3, 2, lambda: ran.append("own"), lambda: ran.append("other"))
    assert (len(own), len(others)) == (3, 3)
    assert (ran.count("own"), ran.count("other")) == (5, 5)


def test_neither_side_is_always_the_first_of_a_turn() -> None:
    ran: list[str] = []

    def clock(name: str, seconds: float) -> float:
        ran.append(name)
        return seconds

    taken = clocked_by_turns(2, 0, lambda: clock("own", 1), lambda: clock("other", 2))
    assert ran == ["own", "other", "other", "own"]
    assert taken == [[1, 1], [2, 2]]


def test_a_part_replaces_its_rows_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    results.write(file, [against("sync_memory", 1, "MB", 1), against("page_root", 1, "ms", 1)])
    results.write(file, [against("page_root", 3, "ms", 1)])
    assert [(row["name"], row["ratio"], row["reached"]) for row in rows(file)] == [
        ("sync_memory", 1, True),
        ("page_root", 3, False),
    ]


def test_a_row_holds_its_goal_and_whether_it_was_reached(tmp_path: Path) -> None:
    results.write(tmp_path / "bench.json", [times("page_root", [0.001], [0.001])])
    assert rows(tmp_path / "bench.json") == [
        {
            "name": "page_root",
            "value": 1.0,
            "unit": "ms",
            "baseline": 1.0,
            "ratio": 1.0,
            "goal": 2,
            "reached": True,
            "value_spread": [1.0, 1.0],
            "baseline_spread": [1.0, 1.0],
            "ratio_spread": [1.0, 1.0],
        }
    ]


@pytest.mark.parametrize("content", [None, b"[", b'[{"name": "page_root", "ratio": 1}]'])
def test_results_of_another_version_are_replaced(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bench.json"
    if content is not None:
        file.write_bytes(content)
    results.write(file, [against("page_root", 1, "ms", 1)])
    assert [row["name"] for row in rows(file)] == ["page_root"]


def test_a_row_whose_benchmark_is_gone_does_not_stay(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_bytes(msgspec.json.encode([Measurement("page_of_nobody", 1, "ms", 1, 1, 1, reached=True)]))
    results.write(file, [against("page_root", 1, "ms", 1)])
    assert [row["name"] for row in rows(file)] == ["page_root"]


def test_the_load_is_a_number_of_processors() -> None:
    assert load() >= 0


def test_the_documentation_names_the_goal_of_every_row() -> None:
    page = (ROOT / "docs/explanation/speed.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| .* \| (at (?:most|least) [0-9.]+) \|$", page, re.MULTILINE))
    assert documented == {name: str(goal) for name, goal in GOALS.items()}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux keeps a thread on chosen processors")
def test_what_is_pinned_has_one_processor_until_it_ends() -> None:
    before = os.sched_getaffinity(0)
    with pinned():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
