"""`MetricField`: a metric of all events, of users or of a feature, as measures that a store computes."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from functions.graphql.query.aggregation import Measure, MeasureKind
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import json_number
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import Metric, MetricKind, value_type
from functions.shared.catalog.names import event_count_field
from functions.shared.catalog.registry import Registry

EVENTS = Measure(MeasureKind.EVENTS)
USERS = Measure(MeasureKind.USERS)
FEATURES = Measure(MeasureKind.FEATURES)


_KINDS: dict[MetricKind, MeasureKind] = {
    "sum": MeasureKind.SUM,
    "avg": MeasureKind.AVERAGE,
    "min": MeasureKind.LEAST,
    "max": MeasureKind.GREATEST,
    "quantile": MeasureKind.QUANTILE,
    "distinct": MeasureKind.DISTINCT,
}


class Ratio(msgspec.Struct, frozen=True):
    """One measure divided by another; null if the divisor is 0 or the ratio exceeds a double's range."""

    dividend: Measure
    divisor: Measure


type MetricField = Measure | Ratio


class MetricValues(msgspec.Struct, frozen=True):
    """The measured values of a group of events, which metric fields are computed from."""

    values: Mapping[Measure, Any]

    def value_of(self, metric_field: MetricField) -> Any:
        """The value of a metric field."""
        if isinstance(metric_field, Measure):
            return json_number(self.values[metric_field])
        divisor = self.values[metric_field.divisor]
        ratio = self.values[metric_field.dividend] / divisor if divisor else math.inf
        return ratio if math.isfinite(ratio) else None


def total_metric_fields(registry: Registry) -> dict[str, MetricField]:
    """The metric fields of `AiMetrics`, without those within features."""
    metric_fields: dict[str, MetricField] = {"totalEventCount": EVENTS, "usersCount": USERS, "featuresCount": FEATURES}
    for count in registry.users_counts:
        used = [name for name, feature in registry.features.items() if feature.counts_as_use]
        features = [registry.features[name] for name in count.features or used]
        ids = tuple(event_id for feature in features for event_id in feature.all_ids.values())
        metric_fields[count.name] = Measure(MeasureKind.USERS, ids)
    return metric_fields | _beside_features(registry)


def user_metric_fields(registry: Registry) -> dict[str, MetricField]:
    """The metric fields of `AiUserMetrics`, without those within features."""
    beside = {name: field for name, field in _beside_features(registry).items() if not _counts_users(field)}
    return {"totalEventCount": EVENTS, "lastDuoActivityOn": Measure(MeasureKind.LAST_DAY)} | beside


def _beside_features(registry: Registry) -> dict[str, MetricField]:
    """The metrics that definitions declare beside their features."""
    metric_fields: dict[str, MetricField] = {}
    for feature in registry.features.values():
        of_feature = feature_metric_fields(feature)
        metric_fields |= {field: of_feature[metric] for field, metric in feature.metrics_beside_feature.items()}
    return metric_fields


def _counts_users(metric_field: MetricField) -> bool:
    return isinstance(metric_field, Measure) and metric_field.kind is MeasureKind.USERS


def feature_metric_fields(feature: Feature) -> dict[str, MetricField]:
    """The metric fields of a feature: those that every feature has, and the declared metrics."""
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
    of_type = value_type(feature.payload_types, metric.path)
    return Measure(_KINDS[metric.kind], ids, path_of(metric.path), of_type, level=metric.level)


def path_of(keys: str) -> Path:
    """The payload path of keys joined by dots."""
    return tuple(keys.split("."))
