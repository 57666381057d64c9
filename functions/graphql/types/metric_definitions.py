"""`metricDefinitions`: lists the metrics that definitions declare, with their units."""

import msgspec

from functions.shared.catalog.metric import Metric
from functions.shared.catalog.registry import Registry


class MetricDefinition(msgspec.Struct, frozen=True):
    """A metric that a definition declares."""

    name: str
    feature: str
    kind: str
    unit: str | None
    description: str


def metric_definitions(registry: Registry) -> list[MetricDefinition]:
    """All declared metrics, by feature, in the order in which the feature declares them."""
    return [
        _definition(feature.name, metric)
        for feature in sorted(registry.features.values(), key=lambda feature: feature.name)
        for metric in feature.metrics.values()
    ]


def _definition(feature_name: str, metric: Metric) -> MetricDefinition:
    return MetricDefinition(metric.name, feature_name, metric.kind, metric.unit or None, metric.description)
