"""Measuring: two things in one run, by turns, so that a noisy machine is as noisy to both."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

type Work = Callable[[], object]


class Measurement(msgspec.Struct, frozen=True):
    """A line of the table.

    Attributes:
        value: what was measured of the project, in `unit`.
        baseline: the same of what it is compared with.
        ratio: of the two.
        goal: what the ratio should be, at least; at most, where `lower_is_better`.
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
        """Whether the ratio is as good as the goal."""
        return self.ratio <= self.goal if self.lower_is_better else self.ratio >= self.goal

    def as_json(self) -> dict[str, object]:
        """The line in `bench.json`."""
        return {name: getattr(self, name) for name in ("name", "value", "unit", "baseline", "ratio", "goal")}


def seconds_of(work: Work) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rates(name: str, units: int, unit: str, own: Sequence[float], others: Sequence[float], goal: float) -> Measurement:
    """How much faster the project is, from the seconds that it and the baseline took for so many `units`, by turns."""
    value, baseline = units / median(own), units / median(others)
    return Measurement(name, round(value), f"{unit}/s", round(baseline), round(value / baseline, 3), goal)


def by_turns(turns: int, warm_up: int, *works: Work) -> list[list[float]]:
    """The seconds of each work, which are done `turns` times one after the other, after `warm_up` that don't count."""
    taken = [[seconds_of(work) for work in works] for _ in range(warm_up + turns)]
    return [list(seconds) for seconds in zip(*taken[warm_up:], strict=True)]


def times(name: str, own: Sequence[float], others: Sequence[float], goal: float) -> Measurement:
    """How many times as long the project takes as the baseline, from the seconds of both, measured by turns."""
    value, baseline = (round(median(seconds) * 1000, 3) for seconds in (own, others))
    ratio = round(value / baseline, 3)
    return Measurement(name, value, "ms", baseline, ratio, goal, lower_is_better=True)
