"""Compares the events of a day with those of the seven days before it.

A share is compared with the lowest of those days, the weekend among them, so that days which differ by nature raise no
alarm. What is rare or new is not judged, because chance alone could empty a day.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from enum import StrEnum

import msgspec

from functions.retention.contract.counts import Counts, Day, Path
from functions.shared.catalog.registry import Registry

DAYS_BEFORE = 7

MIN_EVENTS = 50
"""A day with fewer events of a type is not judged, and is no measure for others."""

MIN_DAYS = 3
"""So many of the seven days must be a measure."""

MIN_EXPECTED = 20
"""So many events must be expected to carry a key; fewer may be missing by chance."""

FALLEN_BELOW = 0.8
"""Part of the lowest share of the days before below which a share has fallen."""

DEVIATIONS = 4
"""Standard deviations of the binomial distribution by which a share must have fallen."""


class Verdict(StrEnum):
    """What became of a key, or of an event."""

    KEPT = "kept"
    FELL = "fell"
    STOPPED = "stopped"
    NOT_JUDGED = "not judged"


class Comparison(msgspec.Struct, frozen=True):
    """One key of an event, or the event itself, on a day and before.

    Attributes:
        event: name of the event.
        key: keys joined by dots; empty for the event itself.
        events: number of the event on the day.
        carrying: how many of them carry the key.
        before: lowest share of events that carried the key on a day before; for the event itself, its number a week
            before. None if it is not judged.
    """

    event: str
    key: str
    events: int
    carrying: int
    before: float | None
    verdict: Verdict

    @property
    def share(self) -> float:
        """Share of the day's events that carry the key."""
        return self.carrying / self.events if self.events else 0.0


def compare(counts: Counts, registry: Registry, day: date) -> Iterator[Comparison]:
    """Yields a comparison for each event that there was in the eight days, and for each key that it may carry."""
    for event_id, days in sorted(counts.items()):
        event = registry.by_id[event_id]
        today = days.get(day, Day(0, {}))
        before = [days[one] for one in _days_before(day) if one in days]
        measures = [one for one in before if one.events >= MIN_EVENTS] if not event.deprecated else []
        measures = measures if len(measures) >= MIN_DAYS else []
        yield _of_event(event.name, today, measures, days.get(day - timedelta(days=DAYS_BEFORE)))
        paths = {path: None for one in (today, *before) for path in one.carrying}
        yield from (_of_key(event.name, path, today, measures) for path in paths)


def fallen(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Returns the comparisons of which somebody should know."""
    return [one for one in comparisons if one.verdict in (Verdict.FELL, Verdict.STOPPED)]


def _days_before(day: date) -> Iterator[date]:
    return (day - timedelta(days=number) for number in range(1, DAYS_BEFORE + 1))


def _of_event(name: str, today: Day, measures: list[Day], week_before: Day | None) -> Comparison:
    """Compares the number of an event with that of the same day of the week before."""
    if not measures or week_before is None or week_before.events < MIN_EVENTS:
        return Comparison(name, "", today.events, today.events, None, Verdict.NOT_JUDGED)
    verdict = Verdict.KEPT if today.events else Verdict.STOPPED
    return Comparison(name, "", today.events, today.events, float(week_before.events), verdict)


def _of_key(name: str, path: Path, today: Day, measures: list[Day]) -> Comparison:
    key, carrying = ".".join(path), today.carrying.get(path, 0)
    lowest = min((_share(one.carrying, path, one.events) for one in measures), default=0.0)
    expected = lowest * today.events
    if today.events < MIN_EVENTS or expected < MIN_EXPECTED:
        return Comparison(name, key, today.events, carrying, None, Verdict.NOT_JUDGED)
    deviation = math.sqrt(expected * (1 - lowest))
    fell = carrying < FALLEN_BELOW * expected and carrying < expected - DEVIATIONS * deviation
    return Comparison(name, key, today.events, carrying, lowest, Verdict.FELL if fell else Verdict.KEPT)


def _share(carrying: Mapping[Path, int], path: Path, events: int) -> float:
    return carrying.get(path, 0) / events
