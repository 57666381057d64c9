"""Measures the project and a baseline by turns, so that a noisy machine disturbs both alike."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import msgspec

from tests.bench.goals import GOALS

type Work = Callable[[], object]
type Spread = tuple[float, float]
"""Smallest and largest value of all turns."""


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the table of results, and of `bench.json`.

    Attributes:
        value: the project's result, in `unit`: the median of all turns.
        baseline: the baseline's result, in `unit`: the median of all turns.
        ratio: `value` divided by `baseline`.
        goal: smallest good ratio, or the largest one.
        reached: whether the ratio is as good as the goal.
        value_spread: smallest and largest result of a turn; None if there was one turn.
        baseline_spread: the same of the baseline.
        ratio_spread: smallest and largest ratio of a turn.
        load: processors that others kept busy, the higher of before and after the part; None if it is unknown.
        measured_at: end of the measurement in UTC, in the format of RFC 3339.
    """

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    goal: float
    reached: bool
    value_spread: Spread | None = None
    baseline_spread: Spread | None = None
    ratio_spread: Spread | None = None
    load: float | None = None
    measured_at: str = ""


def against(name: str, value: float, unit: str, baseline: float) -> Measurement:
    """Returns the ratio of two numbers that were measured once."""
    ratio = round(value / baseline, 3)
    goal = GOALS[name]
    return Measurement(name, value, unit, baseline, ratio, goal.ratio, goal.is_reached(ratio))


def rates(name: str, units: int, unit: str, own: Sequence[float], others: Sequence[float]) -> Measurement:
    """Returns how many times as many units a second the project does as the baseline, given the seconds of both."""
    return _of_turns(name, f"{unit}/s", [units / one for one in own], [units / other for other in others], digits=0)


def times(name: str, own: Sequence[float], others: Sequence[float]) -> Measurement:
    """Returns how many times as long the project takes as the baseline, given the seconds of both."""
    return _of_turns(name, "ms", [one * 1000 for one in own], [other * 1000 for other in others], digits=3)


def by_turns(turns: int, warm_up: int, *works: Work) -> list[list[float]]:
    """Runs the works by turns, and returns the seconds of each of `turns` runs; `warm_up` earlier runs don't count."""
    return clocked_by_turns(turns, warm_up, *(partial(seconds_of, work) for work in works))


def clocked_by_turns(turns: int, warm_up: int, *clocks: Callable[[], float]) -> list[list[float]]:
    """Does what `by_turns` does, with works that say themselves how many seconds they took.

    Every other turn runs them in the opposite order, so that none always profits from what the one before it left in
    the caches.
    """
    taken = []
    for number in range(warm_up + turns):
        order = list(enumerate(clocks))[:: -1 if number % 2 else 1]
        seconds = {place: clock() for place, clock in order}
        taken.append([seconds[place] for place in range(len(clocks))])
    return [list(seconds) for seconds in zip(*taken[warm_up:], strict=True)]


def seconds_of(work: Work) -> float:
    """Returns the seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _of_turns(name: str, unit: str, own: Sequence[float], others: Sequence[float], digits: int) -> Measurement:
    """Returns the medians and the spread of results that belong together turn by turn."""
    ratios = [one / other for one, other in zip(own, others, strict=True)]
    ratio = round(median(own) / median(others), 3)
    goal = GOALS[name]
    return Measurement(
        name,
        round(median(own), digits),
        unit,
        round(median(others), digits),
        ratio,
        goal.ratio,
        goal.is_reached(ratio),
        _spread(own, digits),
        _spread(others, digits),
        _spread(ratios, 3),
    )


def _spread(values: Sequence[float], digits: int) -> Spread:
    return round(min(values), digits), round(max(values), digits)
