"""When a day's events have changed against the week before, and when chance or the calendar explains it."""

from datetime import date, timedelta

import pytest

from functions.retention.contract.counts import Counts, Day, declared
from functions.retention.contract.verdict import Verdict, compare, fallen
from functions.shared.catalog.registry import load

DAY = date(2026, 11, 30)
EVENT, NAME, PATH = 2, "code_suggestion_shown_in_ide", ("language",)
REGISTRY = load()

type Week = list[tuple[int, int]]
"""Events, and events that carry the key: of the day, then of each day before."""


def counts(week: Week) -> Counts:
    days = {
        DAY - timedelta(days=number): Day(events, {PATH: carrying})
        for number, (events, carrying) in enumerate(week)
        if events
    }
    return {EVENT: days}


def verdicts(week: Week) -> tuple[Verdict, Verdict]:
    """Returns the verdict on the event, and that on the key."""
    found = {one.key: one.verdict for one in compare(counts(week), REGISTRY, DAY)}
    return found[""], found["language"]


KEPT, FELL, STOPPED, NOT_JUDGED = Verdict.KEPT, Verdict.FELL, Verdict.STOPPED, Verdict.NOT_JUDGED
ALL = (100, 100)


@pytest.mark.parametrize(
    ("week", "expected"),
    [
        pytest.param([ALL] * 8, (KEPT, KEPT), id="nothing changed"),
        pytest.param([(100, 0), *[ALL] * 7], (KEPT, FELL), id="a key that nobody sends any more"),
        pytest.param([(1000, 700), *[(1000, 950)] * 7], (KEPT, FELL), id="one of several producers stopped sending it"),
        pytest.param([(1000, 900), *[(1000, 950)] * 7], (KEPT, KEPT), id="a share that varies"),
        pytest.param([(60, 20), *[(60, 30)] * 7], (KEPT, KEPT), id="a fall that chance explains"),
        pytest.param([(100, 55), *[ALL] * 5, (80, 45), ALL], (KEPT, KEPT), id="a share as low as on another day"),
        pytest.param([(100_000, 0), *[(100_000, 500)] * 7], (KEPT, FELL), id="a rare key of a frequent event"),
        pytest.param([(1000, 0), *[(1000, 10)] * 7], (KEPT, NOT_JUDGED), id="a key that was always rare"),
        pytest.param([(100, 50), (100, 50), *[(100, 0)] * 6], (KEPT, NOT_JUDGED), id="a new key"),
        pytest.param([(100, 0), ALL, ALL, *[(0, 0)] * 5], (NOT_JUDGED, NOT_JUDGED), id="a new event"),
        pytest.param([(40, 0), *[ALL] * 7], (KEPT, NOT_JUDGED), id="a day with few events"),
        pytest.param([(0, 0), *[ALL] * 7], (STOPPED, NOT_JUDGED), id="an event that stopped"),
        pytest.param([(1, 1), *[ALL] * 7], (KEPT, NOT_JUDGED), id="an event that nearly stopped"),
        pytest.param(
            [(0, 0), *[ALL] * 5, (0, 0), (0, 0)], (NOT_JUDGED, NOT_JUDGED), id="a Sunday without an event of weekdays"
        ),
        pytest.param([(0, 0), *[(20, 20)] * 7], (NOT_JUDGED, NOT_JUDGED), id="a rare event"),
    ],
)
def test_a_day_is_judged_by_the_week_before(week: Week, expected: tuple[Verdict, Verdict]) -> None:
    assert verdicts(week) == expected


def test_what_fell_is_named_with_its_shares() -> None:
    (one,) = fallen(compare(counts([(200, 20), *[(100, 90)] * 6, (100, 80)]), REGISTRY, DAY))
    assert (one.event, one.key, one.before, one.share, one.events) == (NAME, "language", 0.8, 0.1, 200)


def test_a_deprecated_event_may_stop() -> None:
    week = {1: {DAY - timedelta(days=number): Day(100, {}) for number in range(1, 8)}}
    assert fallen(compare(week, REGISTRY, DAY)) == []


def test_every_declared_key_is_counted_for_the_events_that_carry_it() -> None:
    paths = declared(REGISTRY)
    assert set(paths["language",]) == {2, 3, 4}
    assert all(set(ids) <= REGISTRY.by_id.keys() for ids in paths.values())
