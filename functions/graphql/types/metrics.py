"""`aiMetrics` and `aiUserMetrics`: metrics of the selected events, in total and by user."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from ariadne import EnumType, ObjectType, SchemaBindable

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind, Order, UserPosition
from functions.graphql.query.metric_fields import (
    USERS,
    MetricField,
    MetricValues,
    Ratio,
    feature_metric_fields,
    total_metric_fields,
    user_metric_fields,
)
from functions.graphql.query.selection import Selection
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.connection import ConnectionPage, PageRequest
from functions.graphql.types.cursor import from_user_cursor, to_user_cursor
from functions.graphql.types.lookahead import Lookahead
from functions.graphql.types.sdl import FILTERS, PAGE, connection, description, order_value
from functions.graphql.types.selected_measures import measures_of
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import event_count_field, upper_snake_case
from functions.shared.catalog.registry import Registry

_DEFAULT_SORT = "TOTAL_EVENT_COUNT_DESC"
_GRAPHQL_TYPES = {str: "String", int: "Long", float: "Float", bool: "Boolean"}


@dataclass(frozen=True, slots=True)
class UserMetricValues(MetricValues):
    """The measured values of one user's events."""

    user: UserNode


class UserSort(msgspec.Struct, frozen=True):
    """A sort order of users, with its name in the schema."""

    name: str
    measure: Measure
    descending: bool


class Metrics:
    """The metrics types of the schema, with their resolvers."""

    def __init__(self, registry: Registry) -> None:
        self._features = registry.features.values()
        self._total = total_metric_fields()
        self._of_user = user_metric_fields(registry)
        self._of_features = {feature.metrics_field: feature_metric_fields(feature) for feature in self._features}
        self._sorts = {sort.name: sort for sort in self._user_sorts()}

    def text(self) -> str:
        """The schema text of the types and of the fields that return them."""
        parts = [_feature_text(feature, self._of_features[feature.metrics_field]) for feature in self._features]
        fields = "".join(
            f"{description(f'Of {feature.name}.')}{feature.metrics_field}: {feature.metrics_type_name}!\n"
            for feature in self._features
        )
        parts += [f"extend type {name} {{\n{fields}}}\n" for name in ("AiMetrics", "AiUserMetrics")]
        parts.append(connection("AiUserMetrics", "users"))
        sorts = "\n".join(map(order_value, self._sorts))
        parts.append(f'"What users are sorted by."\nenum AiUserMetricsSort {{\n{sorts}\n}}\n')
        parts.append(f"extend type Namespace {{\n{_fields('ai')}}}\n")
        parts.append(f"extend type Query {{\n{_fields('aiInstance')}}}\n")
        return "\n".join(parts)

    def bindables(self) -> Iterator[SchemaBindable]:
        """The resolvers of the types, without the fields that return them."""
        yield EnumType("AiUserMetricsSort", self._sorts)
        for name, metric_fields in (("AiMetrics", self._total), ("AiUserMetrics", self._of_user)):
            metrics_type = ObjectType(name)
            _set_metric_fields(metrics_type, metric_fields)
            for field in self._of_features:
                metrics_type.set_field(field, _same_values)
            yield metrics_type
        for feature in self._features:
            feature_type = ObjectType(feature.metrics_type_name)
            _set_metric_fields(feature_type, self._of_features[feature.metrics_field])
            yield feature_type

    def resolve_metrics(self, coverage: Coverage, info: Info, **filters: Any) -> MetricValues:
        """Resolves `aiMetrics`."""
        context = info.context
        measures = _unique(measures_of(Lookahead.of(info), self._total, self._of_features))
        if not measures:
            return MetricValues({})
        selection = select(coverage, context.registry, context.today, filters)
        (values,) = context.events.aggregate(Aggregation(selection, context.registry.feature_of, measures))
        return MetricValues(dict(zip(measures, values, strict=True)))

    def resolve_user_metrics(self, coverage: Coverage, info: Info, **given: Any) -> ConnectionPage[UserMetricValues]:
        """Resolves `aiUserMetrics`."""
        context = info.context
        selection = select(coverage, context.registry, context.today, given)
        page_request = arguments.page_request(given)
        sort: UserSort = given.get("sort") or self._sorts[_DEFAULT_SORT]
        beyond = page_request.position(lambda cursor: from_user_cursor(sort.name, cursor))
        context.budget.take(page_request.size)
        selected = Lookahead.of(info)
        requested = [
            measure
            for nodes in (selected.below("nodes"), selected.below("edges").below("node"))
            for measure in measures_of(nodes, self._of_user, self._of_features)
        ]

        def read(limit: int) -> list[UserMetricValues]:
            aggregation = _user_aggregation(selection, context.registry, sort, page_request, requested, limit, beyond)
            rows = context.events.aggregate(aggregation)
            users = Usernames((row[0] for row in rows), context.directory)
            found = [
                UserMetricValues(dict(zip(aggregation.measures, values, strict=True)), UserNode(user_id, users))
                for user_id, *values in rows
            ]
            return found[::-1] if page_request.backwards else found

        def cursor_of(measured: UserMetricValues) -> str:
            return to_user_cursor(sort.name, UserPosition(measured.values[sort.measure], measured.user.id))

        def count() -> int:
            ((users,),) = context.events.aggregate(Aggregation(selection, context.registry.feature_of, (USERS,)))
            return int(users)

        return ConnectionPage(page_request, read, cursor_of, count)

    def _user_sorts(self) -> Iterator[UserSort]:
        """Both directions of each metric field that is a count or a sum of integers."""
        names = [(upper_snake_case(field), metric_field) for field, metric_field in self._of_user.items()]
        for feature, metric_fields in self._of_features.items():
            names += [
                (upper_snake_case(f"{feature}_{field}"), metric_field) for field, metric_field in metric_fields.items()
            ]
        for name, metric_field in names:
            if isinstance(metric_field, Measure) and _is_sortable(metric_field):
                yield UserSort(f"{name}_ASC", metric_field, descending=False)
                yield UserSort(f"{name}_DESC", metric_field, descending=True)


def _user_aggregation(
    selection: Selection,
    registry: Registry,
    sort: UserSort,
    page_request: PageRequest,
    requested: Sequence[Measure],
    limit: int,
    beyond: UserPosition | None,
) -> Aggregation:
    descending = sort.descending is not page_request.backwards
    return Aggregation(
        selection,
        registry.feature_of,
        measures=_unique([sort.measure, *requested]),
        dimensions=(Dimension.USER,),
        order=(Order(sort.measure, descending),),
        limit=limit,
        beyond=None if beyond is None else beyond.among_groups,
        ties_descend=descending,
    )


def _is_sortable(metric_field: Measure) -> bool:
    is_total = metric_field.kind is MeasureKind.SUM and metric_field.value_type is int
    return is_total or metric_field.kind in (MeasureKind.EVENTS, MeasureKind.USERS)


def _unique(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    return tuple(dict.fromkeys(measures))


def _set_metric_fields(metrics_type: ObjectType, metric_fields: Mapping[str, MetricField]) -> None:
    for field, metric_field in metric_fields.items():
        metrics_type.set_field(field, _metric_field_resolver(metric_field))


def _metric_field_resolver(metric_field: MetricField) -> Any:
    def resolve(measured: MetricValues, _: Info) -> Any:
        return measured.value_of(metric_field)

    return resolve


def _same_values(measured: MetricValues, _: Info) -> MetricValues:
    return measured


def _feature_text(feature: Feature, metric_fields: Mapping[str, MetricField]) -> str:
    fields = "".join(
        f"{description(_metric_description(feature, field))}{field}: {_type_text(metric_field)}\n"
        for field, metric_field in metric_fields.items()
    )
    return f"{description(f'How much {feature.name} was used.')}type {feature.metrics_type_name} {{\n{fields}}}\n"


def _metric_description(feature: Feature, field: str) -> str:
    if field in feature.metrics:
        return feature.metrics[field].description or f"The metric `{field}` of {feature.name}."
    if field == "contributorsCount":
        return f"How many users used {feature.name}."
    name = next((name for name in feature.all_ids if event_count_field(name) == field), feature.name)
    return f"How many events of {name} there were."


def _type_text(metric_field: MetricField) -> str:
    if isinstance(metric_field, Ratio):
        return "Float"
    if metric_field.kind is MeasureKind.DISTINCT:
        return f"[{_GRAPHQL_TYPES[metric_field.value_type]}!]!"
    if metric_field.kind in (MeasureKind.LEAST, MeasureKind.GREATEST):
        return _GRAPHQL_TYPES[metric_field.value_type]
    if metric_field.kind in (MeasureKind.AVERAGE, MeasureKind.QUANTILE):
        return "Float"
    return "Float!" if metric_field.kind is MeasureKind.SUM and metric_field.value_type is float else "Long!"


def _fields(prefix: str) -> str:
    everywhere = prefix == "aiInstance"
    where = "everything that the token may read" if everywhere else "the group and of all below it, or of the project"
    return f"""\
{description(f"Figures of {where}.")}{prefix}Metrics(
{FILTERS}): AiMetrics!
{description(f"Figures of each user of {where}.")}{prefix}UserMetrics(
{FILTERS}    "In which order: of the most events first where it is not given."
    sort: AiUserMetricsSort
{PAGE}): AiUserMetricsConnection!
"""
