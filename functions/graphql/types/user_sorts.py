"""The orders of users: both directions of each metric that counts or adds up integers, and further names of these."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from functions.graphql.query.aggregation import Measure, MeasureKind
from functions.graphql.query.metric_fields import MetricField
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import upper_snake_case

_DIRECTIONS = ("ASC", "DESC")
_TOTAL = "totalEventCount"
_TOTAL_ALIAS = "totalEventsCount"
_TOTAL_OF_FEATURE = "totalCount"


class UserSort(msgspec.Struct, frozen=True):
    """A sort order of users, with its name in the schema."""

    name: str
    measure: Measure
    descending: bool


class SortAlias(NamedTuple):
    """A further name of an order.

    Attributes:
        deprecation: why the name is deprecated; empty if it is not.
    """

    sort: UserSort
    deprecation: str


def user_sorts(
    of_user: Mapping[str, MetricField],
    features: Iterable[Feature],
    of_feature: Mapping[str, Mapping[str, MetricField]],
) -> Iterator[UserSort]:
    """The orders by the metric fields of a user and of each feature.

    Args:
        of_feature: metric fields by the feature's name.
    """
    measures = {upper_snake_case(field): measure for field, measure in _sortable(of_user)}
    for feature in features:
        for field, measure in _sortable(of_feature[feature.name]):
            measures[_name(feature.metrics_field, field)] = measure
    for name, measure in measures.items():
        for direction in _DIRECTIONS:
            yield UserSort(f"{name}_{direction}", measure, descending=direction == "DESC")


def sort_aliases(
    sorts: Mapping[str, UserSort],
    features: Iterable[Feature],
    of_feature: Mapping[str, Mapping[str, MetricField]],
) -> dict[str, SortAlias]:
    """Further names of the orders: of totals, and of features whose metrics have several names.

    A name that is an order's own is not a further name of another.
    """
    names = {upper_snake_case(_TOTAL_ALIAS): (upper_snake_case(_TOTAL), "")}
    for feature in features:
        metrics = [field for field, _ in _sortable(of_feature[feature.name])]
        for field, reason in feature.metrics_fields.items():
            own = {_name(field, metric): _name(feature.metrics_field, metric) for metric in metrics}
            own[_name(field, _TOTAL_OF_FEATURE)] = _name(feature.metrics_field, _TOTAL)
            names |= {alias: (name, reason) for alias, name in own.items() if alias != name}
    return {
        f"{alias}_{direction}": SortAlias(sorts[f"{name}_{direction}"], _deprecation(name, direction, reason))
        for alias, (name, reason) in names.items()
        for direction in _DIRECTIONS
        if f"{alias}_{direction}" not in sorts
    }


def _deprecation(name: str, direction: str, reason: str) -> str:
    return f"Use `{name}_{direction}`." if reason else ""


def _name(field: str, metric: str) -> str:
    return upper_snake_case(f"{field}_{metric}")


def _sortable(metric_fields: Mapping[str, MetricField]) -> Iterator[tuple[str, Measure]]:
    """The metric fields that users can be sorted by."""
    for field, measure in metric_fields.items():
        if isinstance(measure, Measure):
            is_total = measure.kind is MeasureKind.SUM and measure.value_type is int
            if is_total or measure.kind in (MeasureKind.EVENTS, MeasureKind.USERS):
                yield field, measure
