"""Figures of the metrics in GraphQL, and what has to be measured for them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from functions.graphql.context import User
from functions.graphql.query.aggregation import Measure, MeasureKind
from functions.graphql.query.path import Path
from functions.graphql.types.lookahead import Selected
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import Metric
from functions.shared.catalog.names import event_count_field
from functions.shared.catalog.payload_type import type_at
from functions.shared.catalog.registry import Registry

EVENTS = Measure(MeasureKind.EVENTS)
USERS = Measure(MeasureKind.USERS)
FEATURES = Measure(MeasureKind.FEATURES)

# Of GitLab's schema: counts of single events, beside the features' own figures.
_USER_COUNTS = {
    "codeSuggestionsAcceptedCount": "code_suggestion_accepted_in_ide",
    "duoChatInteractionsCount": "request_duo_chat_response",
}


class Ratio(msgspec.Struct, frozen=True):
    """One measure by another; nothing where that is 0, or so small that no double is near to the ratio."""

    dividend: Measure
    divisor: Measure


type Figure = Measure | Ratio


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a group of events: the figures are resolved from it."""

    values: Mapping[Measure, Any]

    def figure(self, figure: Figure) -> Any:
        """The figure's value."""
        if isinstance(figure, Measure):
            return self.values[figure]
        divisor = self.values[figure.divisor]
        ratio = self.values[figure.dividend] / divisor if divisor else math.inf
        return ratio if math.isfinite(ratio) else None


@dataclass(frozen=True, slots=True)
class MeasuredUser(Measured):
    """What was measured of a user's events."""

    user: User


def total_figures() -> dict[str, Figure]:
    """The figures of `AiMetrics`, but for the features'."""
    return {"totalEventCount": EVENTS, "usersCount": USERS, "featuresCount": FEATURES}


def user_figures(registry: Registry) -> dict[str, Figure]:
    """The figures of `AiUserMetrics`, but for the features'."""
    counts: dict[str, Figure] = {
        name: Measure(MeasureKind.EVENTS, (registry.events[event].id,) if event in registry.events else ())
        for name, event in _USER_COUNTS.items()
    }
    return {"totalEventCount": EVENTS, "lastDuoActivityOn": Measure(MeasureKind.LAST_DAY)} | counts


def feature_figures(feature: Feature) -> dict[str, Figure]:
    """The figures of a feature: those that each has, and those that it declares."""
    ids = tuple(feature.all_ids.values())
    figures: dict[str, Figure] = {
        "totalEventCount": Measure(MeasureKind.EVENTS, ids),
        "contributorsCount": Measure(MeasureKind.USERS, ids),
    }
    figures |= {
        event_count_field(name): Measure(MeasureKind.EVENTS, (number,)) for name, number in feature.all_ids.items()
    }
    measures = {metric.name: _measure(metric, feature) for metric in feature.metrics.values() if not metric.of}
    for metric in feature.metrics.values():
        figures[metric.name] = Ratio(*(measures[name] for name in metric.of)) if metric.of else measures[metric.name]
    return figures


def _measure(metric: Metric, feature: Feature) -> Measure:
    ids = feature.ids_of(metric.events)
    if metric.kind == "count":
        return Measure(MeasureKind.EVENTS, ids)
    kind = MeasureKind.SUM if metric.kind == "sum" else MeasureKind.DISTINCT
    return Measure(kind, ids, path_of(metric.path), value_type(feature, metric.path))


def path_of(keys: str) -> Path:
    """The path that keys with dots between them name."""
    return tuple(keys.split("."))


def value_type(feature: Feature, keys: str) -> type[str | int | float | bool]:
    """What the values at a path of keys count as: a string, as a moment is stored, where nothing else is declared."""
    kept = type_at(feature.payload_types, keys)
    return kept if isinstance(kept, type) and kept in (int, float, bool) else str


def measures_of(
    selected: Selected, own: Mapping[str, Figure], features: Mapping[str, Mapping[str, Figure]]
) -> Iterator[Measure]:
    """What has to be measured for the figures that a query selects.

    Args:
        own: the figures of the object selected, by field.
        features: those of each feature's object in it.
    """
    yield from _measures(own[name] for name in selected.names() if name in own)
    for field, figures in features.items():
        below = selected.below(field)
        yield from _measures(figures[name] for name in below.names() if name in figures)


def _measures(figures: Iterable[Figure]) -> Iterator[Measure]:
    for figure in figures:
        if isinstance(figure, Ratio):
            yield from (figure.dividend, figure.divisor)
        else:
            yield figure
