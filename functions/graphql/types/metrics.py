"""`aiMetrics` and `aiUserMetrics`: metrics of the selected events, in total and by user."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from ariadne import EnumType, ObjectType, SchemaBindable
from graphql import GraphQLError, GraphQLObjectType

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.query.aggregation import (
    Aggregation,
    Dimension,
    Having,
    Measure,
    MeasureKind,
    Order,
    UserPosition,
)
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.metric_fields import (
    EVENTS,
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
from functions.graphql.types.measured import MeasuredEvents, Request, TotalValues, UserMetricValues
from functions.graphql.types.metrics_arguments import argument_conditions, arguments_text, filter_type_text
from functions.graphql.types.sdl import (
    FILTERS,
    PAGE,
    USE_ONLY,
    connection,
    deprecated,
    description,
    implementing,
    order_value,
)
from functions.graphql.types.seats import assigned_users
from functions.graphql.types.selected_measures import measures_below, measures_of
from functions.graphql.types.session_fields import session_bindables, session_fields_text, session_types_text
from functions.graphql.types.use import counted_ids, of_use
from functions.graphql.types.user_sorts import UserSort, sort_aliases, user_sorts
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import event_count_field
from functions.shared.catalog.registry import Registry

_DEFAULT_SORT = "TOTAL_EVENT_COUNT_DESC"
_GRAPHQL_TYPES = {str: "String", int: "Long", float: "Float", bool: "Boolean"}


class Metrics:
    """The metrics types of the schema, with their resolvers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._features = registry.features.values()
        self._total = total_metric_fields(registry)
        self._of_user = user_metric_fields(registry)
        self._of_feature = {feature.name: feature_metric_fields(feature) for feature in self._features}
        self._of_fields = {
            field: self._of_feature[feature.name] for feature in self._features for field in feature.metrics_fields
        }
        self._sorts = {sort.name: sort for sort in user_sorts(self._of_user, self._features, self._of_feature)}
        self._sort_aliases = sort_aliases(self._sorts, self._features, self._of_feature)

    def text(self) -> str:
        """The schema text of the types and of the fields that return them."""
        parts = [_feature_text(feature, self._of_feature[feature.name]) for feature in self._features]
        fields = "".join(map(_fields_of_feature, self._features))
        for name, metric_fields in (("AiMetrics", self._total), ("AiUserMetrics", self._of_user)):
            parts.append(f"extend type {name} {{\n{_fields_beside(self._registry, metric_fields)}{fields}}}\n")
        assigned = _assigned_users_fields(self._registry)
        if assigned:
            texts = "".join(f"{description(about)}{field}: Long!\n" for field, about in assigned.items())
            parts.append(f"extend type AiMetrics {{\n{texts}}}\n")
        parts.append(connection("AiUserMetrics", "users"))
        sorts = "\n".join(
            [
                *map(order_value, self._sorts),
                *(f"{order_value(name)}{deprecated(alias.deprecation)}" for name, alias in self._sort_aliases.items()),
            ]
        )
        parts.append(f'"What users are sorted by."\nenum AiUserMetricsSort {{\n{sorts}\n}}\n')
        parts.append(f"extend type Namespace {{\n{_fields('ai')}}}\n")
        parts.append(f"extend type Query {{\n{_fields('aiInstance')}}}\n")
        return "\n".join(parts)

    def bindables(self) -> Iterator[SchemaBindable]:
        """The resolvers of the types, without the fields that return them."""
        aliases = {name: alias.sort for name, alias in self._sort_aliases.items()}
        yield EnumType("AiUserMetricsSort", self._sorts | aliases)
        for name, metric_fields in (("AiMetrics", self._total), ("AiUserMetrics", self._of_user)):
            metrics_type = ObjectType(name)
            if name == "AiMetrics":
                for field in _assigned_users_fields(self._registry):
                    metrics_type.set_field(field, _resolve_assigned_users)
            _set_metric_fields(metrics_type, metric_fields)
            for feature in self._features:
                for field in feature.metrics_fields:
                    metrics_type.set_field(field, _feature_resolver(feature, self._of_feature[feature.name]))
            yield metrics_type
        for feature in self._features:
            feature_type = ObjectType(feature.metrics_type_name)
            _set_metric_fields(feature_type, self._of_feature[feature.name])
            yield from session_bindables(feature, feature_type)
            yield feature_type

    def resolve_metrics(self, coverage: Coverage, info: Info, **filters: Any) -> MetricValues:
        """Resolves `aiMetrics`."""
        context = info.context
        selected = Lookahead.of(info)
        measures = _unique(measures_of(selected, self._total, self._of_fields))
        selection = select(coverage, context.registry, context.today, filters)
        events = MeasuredEvents(selection, context, coverage, filters, counted_ids(context.registry, filters))
        events.measure_together(self._requests(selected, info))
        return TotalValues(events.values(None, (), measures).values, events)

    def _requests(self, selected: Lookahead, info: Info) -> Iterator[Request]:
        """What to measure for the features' fields with arguments; without those whose arguments are invalid."""
        metrics_type = cast("GraphQLObjectType", info.schema.get_type("AiMetrics"))
        for feature in self._features:
            for below in selected.below(*feature.metrics_fields).apart():
                measures = _unique(measures_below(below, self._of_feature[feature.name]))
                with suppress(InvalidArgument, GraphQLError):
                    conditions = argument_conditions(feature, next(below.arguments(metrics_type)))
                    if measures:
                        yield conditions, measures

    def resolve_user_metrics(self, coverage: Coverage, info: Info, **given: Any) -> ConnectionPage[UserMetricValues]:
        """Resolves `aiUserMetrics`."""
        context = info.context
        selection = select(coverage, context.registry, context.today, given)
        page_request = arguments.page_request(given)
        sort: UserSort = given.get("sort") or self._sorts[_DEFAULT_SORT]
        counted = counted_ids(context.registry, given)
        beyond = page_request.position(lambda cursor: from_user_cursor(sort.name, cursor))
        context.budget.take(page_request.size)
        selected = Lookahead.of(info)
        requested = [
            measure
            for nodes in (selected.below("nodes"), selected.below("edges").below("node"))
            for measure in measures_of(nodes, self._of_user, self._of_fields)
        ]
        measures = _unique([sort.measure, *requested])

        def read(limit: int) -> list[UserMetricValues]:
            aggregation = _user_aggregation(
                selection, context.registry, counted, sort, page_request, measures, limit, beyond
            )
            rows = context.events.aggregate(aggregation)
            users = Usernames((row[0] for row in rows), context.directory)
            events = MeasuredEvents(selection, context, coverage, given, counted, tuple(row[0] for row in rows))
            found = [
                UserMetricValues(dict(zip(measures, values, strict=False)), events, UserNode(user_id, users))
                for user_id, *values in rows
            ]
            return found[::-1] if page_request.backwards else found

        def cursor_of(measured: UserMetricValues) -> str:
            return to_user_cursor(sort.name, UserPosition(measured.values[sort.measure], measured.user.id))

        def count() -> int:
            measure = of_use(USERS, counted)
            ((users,),) = context.events.aggregate(Aggregation(selection, context.registry.feature_of, (measure,)))
            return int(users)

        return ConnectionPage(page_request, read, cursor_of, count)


def _user_aggregation(
    selection: Selection,
    registry: Registry,
    counted: frozenset[int] | None,
    sort: UserSort,
    page_request: PageRequest,
    measures: Sequence[Measure],
    limit: int,
    beyond: UserPosition | None,
) -> Aggregation:
    """The aggregation by users who have an event that counts as use, with the measures first."""
    descending = sort.descending is not page_request.backwards
    narrowed = [of_use(measure, counted) for measure in measures]
    used = of_use(EVENTS, counted)
    return Aggregation(
        selection,
        registry.feature_of,
        measures=(*narrowed, used) if counted is not None and used not in narrowed else tuple(narrowed),
        dimensions=(Dimension.USER,),
        order=(Order(of_use(sort.measure, counted), descending),),
        limit=limit,
        having=() if counted is None else (Having(used, ">", 0),),
        beyond=None if beyond is None else beyond.among_groups,
        ties_descend=descending,
    )


def _unique(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    return tuple(dict.fromkeys(measures))


def _set_metric_fields(metrics_type: ObjectType, metric_fields: Mapping[str, MetricField]) -> None:
    for field, metric_field in metric_fields.items():
        metrics_type.set_field(field, _metric_field_resolver(metric_field))


def _metric_field_resolver(metric_field: MetricField) -> Any:
    def resolve(measured: MetricValues, _: Info) -> Any:
        return measured.value_of(metric_field)

    return resolve


def _feature_resolver(feature: Feature, metric_fields: Mapping[str, MetricField]) -> Any:
    def resolve(measured: TotalValues | UserMetricValues, info: Info, **given: Any) -> MetricValues:
        selected = Lookahead.of(info)
        if selected.without_arguments():
            return measured
        return measured.where(argument_conditions(feature, given), measures_below(selected, metric_fields))

    return resolve


def _assigned_users_fields(registry: Registry) -> dict[str, str]:
    """The fields that count the users with a seat, with their descriptions."""
    declared: dict[str, str] = {}
    for feature in registry.features.values():
        declared |= feature.assigned_users_fields
    return declared


def _resolve_assigned_users(measured: TotalValues, info: Info) -> int:
    events = measured.events
    return assigned_users(events.coverage, info.context, events.filters)


def _fields_of_feature(feature: Feature) -> str:
    """The fields with the feature's metrics."""
    about = description(f"Of {feature.name}.")
    return "".join(
        f"{about}{field}{arguments_text(feature)}: {feature.metrics_type_name}!{deprecated(reason)}\n"
        for field, reason in feature.metrics_fields.items()
    )


def _fields_beside(registry: Registry, metric_fields: Mapping[str, MetricField]) -> str:
    """Those of the metric fields that definitions declare beside the fields of features."""
    descriptions = {count.name: count.description or "How many users there were." for count in registry.users_counts}
    for feature in registry.features.values():
        for field, metric in feature.metrics_beside_feature.items():
            descriptions[field] = _metric_description(feature, metric)
    return "".join(
        f"{description(descriptions[field])}{field}: {_type_text(metric_field)}\n"
        for field, metric_field in metric_fields.items()
        if field in descriptions
    )


def _feature_text(feature: Feature, metric_fields: Mapping[str, MetricField]) -> str:
    fields = "".join(
        f"{description(_metric_description(feature, field))}{field}: {_type_text(metric_field)}\n"
        for field, metric_field in metric_fields.items()
    )
    fields += session_fields_text(feature)
    about, former_types = f"How much {feature.name} was used.", feature.former_type_names[feature.metrics_type_name]
    former_about = description(f"The former name of `{feature.metrics_type_name}`, for fragments.")
    former = "".join(f"{former_about}interface {name} {{\n{fields}}}\n" for name in former_types)
    own = f"{description(about)}type {feature.metrics_type_name}{implementing(*former_types)} {{\n{fields}}}\n"
    return f"{former}{filter_type_text(feature)}{session_types_text(feature)}{own}"


def _metric_description(feature: Feature, field: str) -> str:
    if field in feature.metrics:
        metric = feature.metrics[field]
        about = metric.description or f"The metric `{field}` of {feature.name}."
        return f"{about} Unit: {metric.unit}." if metric.unit else about
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
{description(f"Figures of {where}. {USE_ONLY}")}{prefix}Metrics(
{FILTERS}): AiMetrics!
{description(f"Figures of each user of {where}. {USE_ONLY}")}{prefix}UserMetrics(
{FILTERS}    "In which order: of the most events first where it is not given."
    sort: AiUserMetricsSort
{PAGE}): AiUserMetricsConnection!
"""
