"""Figures of the metrics in GraphQL, and what has to be measured for them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from functions.graphql.context import UserNode
from functions.graphql.query.aggregation import Measure, MeasureKind
from functions.graphql.query.path import Path
from functions.graphql.types.lookahead import Lookahead
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import Metric
from functions.shared.catalog.names import event_count_field
from functions.shared.catalog.payload_type import type_at
from functions.shared.catalog.registry import Registry

EVENTS = Measure(MeasureKind.EVENTS)
USERS = Measure(MeasureKind.USERS)
FEATURES = Measure(MeasureKind.FEATURES)

# Of GitLab's schema: counts of single events, beside the features' own metric_fields.
_USER_COUNTS = {
    "codeSuggestionsAcceptedCount": "code_suggestion_accepted_in_ide",
    "duoChatInteractionsCount": "request_duo_chat_response",
}


class Ratio(msgspec.Struct, frozen=True):
    """One measure by another; nothing where that is 0, or so small that no double is near to the ratio."""

    dividend: Measure
    divisor: Measure


type MetricField = Measure | Ratio


@dataclass(frozen=True, slots=True)
class MetricValues:
    """What was measured of a group of events: the metric_fields are resolved from it."""

    values: Mapping[Measure, Any]

    def value_of(self, metric_field: MetricField) -> Any:
        """The metric_field's value."""
        if isinstance(metric_field, Measure):
            return self.values[metric_field]
        divisor = self.values[metric_field.divisor]
        ratio = self.values[metric_field.dividend] / divisor if divisor else math.inf
        return ratio if math.isfinite(ratio) else None


@dataclass(frozen=True, slots=True)
class UserMetricValues(MetricValues):
    """What was measured of a user's events."""

    user: UserNode


def total_metric_fields() -> dict[str, MetricField]:
    """The metric_fields of `AiMetrics`, but for the features'."""
    return {"totalEventCount": EVENTS, "usersCount": USERS, "featuresCount": FEATURES}


def user_metric_fields(registry: Registry) -> dict[str, MetricField]:
    """The metric_fields of `AiUserMetrics`, but for the features'."""
    counts: dict[str, MetricField] = {
        name: Measure(MeasureKind.EVENTS, (registry.events[event].id,) if event in registry.events else ())
        for name, event in _USER_COUNTS.items()
    }
    return {"totalEventCount": EVENTS, "lastDuoActivityOn": Measure(MeasureKind.LAST_DAY)} | counts


def feature_metric_fields(feature: Feature) -> dict[str, MetricField]:
    """The metric_fields of a feature: those that each has, and those that it declares."""
    ids = tuple(feature.all_ids.values())
    metric_fields: dict[str, MetricField] = {
        "totalEventCount": Measure(MeasureKind.EVENTS, ids),
        "contributorsCount": Measure(MeasureKind.USERS, ids),
    }
    metric_fields |= {
        event_count_field(name): Measure(MeasureKind.EVENTS, (number,)) for name, number in feature.all_ids.items()
    }
    measures = {metric.name: _measure(metric, feature) for metric in feature.metrics.values() if not metric.of}
    for metric in feature.metrics.values():
        metric_fields[metric.name] = (
            Ratio(*(measures[name] for name in metric.of)) if metric.of else measures[metric.name]
        )
    return metric_fields


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
    key_type = type_at(feature.payload_types, keys)
    return key_type if isinstance(key_type, type) and key_type in (int, float, bool) else str


def measures_of(
    selected: Lookahead, own: Mapping[str, MetricField], features: Mapping[str, Mapping[str, MetricField]]
) -> Iterator[Measure]:
    """What has to be measured for the metric_fields that a query selects.

    Args:
        own: the metric_fields of the object selected, by field.
        features: those of each feature's object in it.
    """
    yield from _measures(own[name] for name in selected.names() if name in own)
    for field, metric_fields in features.items():
        below = selected.below(field)
        yield from _measures(metric_fields[name] for name in below.names() if name in metric_fields)


def _measures(metric_fields: Iterable[MetricField]) -> Iterator[Measure]:
    for metric_field in metric_fields:
        if isinstance(metric_field, Ratio):
            yield from (metric_field.dividend, metric_field.divisor)
        else:
            yield metric_field
