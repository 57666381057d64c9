"""Finds the measures of the metric fields that a query selects."""

from collections.abc import Iterable, Iterator, Mapping

from functions.graphql.query.aggregation import Measure
from functions.graphql.query.metric_fields import MetricField, Ratio
from functions.graphql.types.lookahead import Lookahead


def measures_of(
    selected: Lookahead, own: Mapping[str, MetricField], features: Mapping[str, Mapping[str, MetricField]]
) -> Iterator[Measure]:
    """The measures of the metric fields that a query selects.

    Args:
        own: metric fields of the selected object, by name.
        features: metric fields of each feature's object inside, by the object's field.
    """
    yield from _measures(own[name] for name in selected.names() if name in own)
    for field, metric_fields in features.items():
        # A field with arguments is measured by itself.
        yield from measures_below(selected.below(field).without_arguments(), metric_fields)


def measures_below(selected: Lookahead, metric_fields: Mapping[str, MetricField]) -> Iterator[Measure]:
    """The measures of these metric fields that a query selects below a field."""
    yield from _measures(metric_fields[name] for name in selected.names() if name in metric_fields)


def _measures(metric_fields: Iterable[MetricField]) -> Iterator[Measure]:
    for metric_field in metric_fields:
        if isinstance(metric_field, Ratio):
            yield from (metric_field.dividend, metric_field.divisor)
        else:
            yield metric_field
