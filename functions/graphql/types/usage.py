"""`aiUsage`: counts the selected events in groups by the dimensions and paths of the query."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from ariadne import EnumType, ObjectType, SchemaBindable

from functions.graphql.context import Coverage, Info, Usernames, UserNode
from functions.graphql.query.aggregation import (
    Aggregation,
    Dimension,
    Measure,
    MeasureKind,
    Order,
)
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.scalar import json_number
from functions.graphql.types import arguments
from functions.graphql.types.lookahead import Lookahead
from functions.graphql.types.row_places import RowPlaces
from functions.graphql.types.sdl import FILTERS, USE_ONLY, description, order_value
from functions.graphql.types.usage_measures import MEASURE_ARGUMENTS, RowMeasures
from functions.graphql.types.use import aggregation_of_use, counted_ids, use

MAX_GROUP_PATHS = 5

_MEASURES = {
    "totalCount": Measure(MeasureKind.EVENTS),
    "usersCount": Measure(MeasureKind.USERS),
    "featuresCount": Measure(MeasureKind.FEATURES),
    "returningUsersCount": Measure(MeasureKind.RETURNING_USERS),
    "previousPeriodUsersCount": Measure(MeasureKind.PREVIOUS_USERS),
}
_ORDERS: dict[str, Measure | Dimension] = {
    "TOTAL_COUNT": _MEASURES["totalCount"],
    "USERS_COUNT": _MEASURES["usersCount"],
    "FEATURES_COUNT": _MEASURES["featuresCount"],
    "RETURNING_USERS_COUNT": _MEASURES["returningUsersCount"],
    "PREVIOUS_PERIOD_USERS_COUNT": _MEASURES["previousPeriodUsersCount"],
    **{dimension.name: dimension for dimension in Dimension},
}
_KEY_FIELDS = {Dimension.NAMESPACE: "namespacePath", Dimension.PROJECT: "projectId"}
_DEFAULT_ORDER = (Order(_MEASURES["totalCount"], descending=True),)


class Row(msgspec.Struct, frozen=True):
    """A group of events, with its keys and measures."""

    keys: Mapping[Dimension, Any]
    payload: Mapping[str, Any]
    values: Mapping[Measure, Any]
    users: Usernames
    places: RowPlaces
    asked: Mapping[str, Measure]

    def key(self, dimension: Dimension) -> Any:
        """The group's value of a dimension; None if the query does not group by the dimension."""
        key = self.keys.get(dimension)
        return UserNode(key, self.users) if dimension is Dimension.USER and key is not None else key

    @property
    def measures(self) -> list[dict[str, Any]]:
        """What the query's `measures` are."""
        return [{"name": name, "value": json_number(self.values[measure])} for name, measure in self.asked.items()]

    @property
    def cursor(self) -> str:
        """The cursor of the row."""
        return self.places.cursor(self.keys, self.payload, self.values)


def usage_rows_text() -> str:
    """The fields, and the order of their rows. Events and users are ordered by their ids."""
    orders = "\n".join(order_value(f"{name}_{direction}") for name in _ORDERS for direction in ("ASC", "DESC"))
    return f"""\
{description(usage_rows_text.__doc__ or "")}enum AiUsageOrder {{
{orders}
}}

extend type Namespace {{
{_field("aiUsage", "the group and of all below it, or of the project")}}}

extend type Query {{
{_field("aiInstanceUsage", "everything that the token may read")}}}
"""


def usage_rows_bindables() -> Iterator[SchemaBindable]:
    """The resolvers of the rows."""
    yield EnumType("AiUsageDimension", {dimension.name: dimension for dimension in Dimension})
    yield EnumType(
        "AiUsageOrder",
        {
            f"{name}_{direction}": Order(by, descending=direction == "DESC")
            for name, by in _ORDERS.items()
            for direction in ("ASC", "DESC")
        },
    )
    row_type = ObjectType("AiUsageRow")
    for dimension in Dimension:
        row_type.set_field(_KEY_FIELDS.get(dimension, dimension.value), _key_resolver(dimension))
    for field, measure in _MEASURES.items():
        row_type.set_field(field, _measure_resolver(measure))
    yield row_type


def resolve_usage(
    coverage: Coverage,
    info: Info,
    group_by: Sequence[Dimension] | None = None,
    payload_group_by: Sequence[str] | None = None,
    order_by: Sequence[Order] | None = None,
    first: int | None = None,
    after: str | None = None,
    measures: Sequence[Mapping[str, Any]] | None = None,
    having: Sequence[Mapping[str, Any]] | None = None,
    order_by_measures: Sequence[Mapping[str, Any]] | None = None,
    **filters: Any,
) -> list[Row]:
    """Resolves `aiUsage`."""
    context = info.context
    size = arguments.size("first", first)
    context.budget.take(size)
    dimensions = tuple(dict.fromkeys(group_by or ()))
    texts = tuple(dict.fromkeys(payload_group_by or ()))
    row_measures = RowMeasures(measures or (), _MEASURES, context.registry)
    order = (*row_measures.order(order_by_measures or ()), *(order_by or ())) or _DEFAULT_ORDER
    _require_grouped(order, dimensions)
    conditions = row_measures.having(having or ())
    places = RowPlaces(dimensions, texts, order)
    selected = Lookahead.of(info).names()
    needed = {each.by for each in order} | {each.measure for each in conditions}
    fields = [measure for field, measure in _MEASURES.items() if field in selected or measure in needed]
    asked = [measure for measure in row_measures.asked.values() if "measures" in selected or measure in needed]
    counted = counted_ids(context.registry, filters)
    further = row_measures.event_ids - counted if counted is not None else frozenset()
    aggregation = Aggregation(
        use(coverage, context, filters, further),
        context.registry.feature_of,
        measures=(*fields, *asked) or (_MEASURES["totalCount"],),
        dimensions=dimensions,
        paths=arguments.paths("payloadGroupBy", texts, MAX_GROUP_PATHS),
        order=order,
        limit=size,
        having=conditions,
        beyond=places.position(after),
    )
    if size == 0:
        return []
    found = context.events.aggregate(aggregation_of_use(aggregation, counted if further else None))
    return _rows(found, aggregation, texts, places, row_measures.asked, info)


def _rows(
    found: Sequence[Sequence[Any]],
    aggregation: Aggregation,
    texts: Sequence[str],
    places: RowPlaces,
    asked: Mapping[str, Measure],
    info: Info,
) -> list[Row]:
    dimensions = aggregation.dimensions
    first_measure = len(dimensions) + len(texts)
    user_ids = [row[dimensions.index(Dimension.USER)] for row in found] if Dimension.USER in dimensions else []
    users = Usernames(user_ids, info.context.directory)
    return [
        Row(
            keys=dict(zip(dimensions, row, strict=False)),
            payload=dict(zip(texts, row[len(dimensions) :], strict=False)),
            values=dict(zip(aggregation.measures, row[first_measure:], strict=True)),
            users=users,
            places=places,
            asked=asked,
        )
        for row in found
    ]


def _require_grouped(order: Sequence[Order], dimensions: Sequence[Dimension]) -> None:
    for each in order:
        if isinstance(each.by, Dimension) and each.by not in dimensions:
            raise InvalidArgument(f"orderBy {each.by.name} requires {each.by.name} in groupBy.")


def _key_resolver(dimension: Dimension) -> Any:
    def resolve(row: Row, _: Info) -> Any:
        return row.key(dimension)

    return resolve


def _measure_resolver(measure: Measure) -> Any:
    def resolve(row: Row, _: Info) -> Any:
        return row.values[measure]

    return resolve


def _field(name: str, where: str) -> str:
    return f"""\
{description(f"The events of {where}, counted in groups. {USE_ONLY} Measures count all events that they name.")}{name}(
    "What the events of a group have in common; all are one group where nothing is given."
    groupBy: [AiUsageDimension!]
    "Paths into the payload: the events of a group have the same strings, numbers and booleans there."
    payloadGroupBy: [String!]
{MEASURE_ARGUMENTS}{FILTERS}    "In which order: of the most events first where it is not given."
    orderBy: [AiUsageOrder!]
    "How many groups to return: 100 where it is not given, at most 1,000."
    first: Int
    "Only the groups after the one with this cursor. The other arguments must be the same as those of its query."
    after: String
): [AiUsageRow!]!
"""
