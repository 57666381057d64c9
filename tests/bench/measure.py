"""Measures the project and a baseline by turns, so that a noisy machine disturbs both alike."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

type Work = Callable[[], object]


class Measurement(msgspec.Struct, frozen=True):
    """A row of the table of results.

    Attributes:
        value: the project's result, in `unit`.
        baseline: the baseline's result, in `unit`.
        ratio: `value` divided by `baseline`.
        goal: smallest good ratio; if `lower_is_better`, the largest.
    """

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    goal: float
    lower_is_better: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether the ratio reaches the goal."""
        return self.ratio <= self.goal if self.lower_is_better else self.ratio >= self.goal

    def as_json(self) -> dict[str, object]:
        """Returns the row for `bench.json`."""
        return {name: getattr(self, name) for name in ("name", "value", "unit", "baseline", "ratio", "goal")}


def seconds_of(work: Work) -> float:
    """Returns the seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rates(name: str, units: int, unit: str, own: Sequence[float], others: Sequence[float], goal: float) -> Measurement:
    """Returns how many times as many units a second the project does as the baseline, given the seconds of both."""
    value, baseline = units / median(own), units / median(others)
    return Measurement(name, round(value), f"{unit}/s", round(baseline), round(value / baseline, 3), goal)


def by_turns(turns: int, warm_up: int, *works: Work) -> list[list[float]]:
    """Runs the works by turns, and returns the seconds of each of `turns` runs; `warm_up` earlier runs don't count."""
    taken = [[seconds_of(work) for work in works] for _ in range(warm_up + turns)]
    return [list(seconds) for seconds in zip(*taken[warm_up:], strict=True)]


def times(name: str, own: Sequence[float], others: Sequence[float], goal: float) -> Measurement:
    """Returns how many times as long the project takes as the baseline, given the seconds of both."""
    value, baseline = (round(median(seconds) * 1000, 3) for seconds in (own, others))
    ratio = round(value / baseline, 3)
    return Measurement(name, value, "ms", baseline, ratio, goal, lower_is_better=True)
