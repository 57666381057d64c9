"""`aiMetrics` and `aiUserMetrics`: how much features were used, by all and by each user."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from ariadne import EnumType, ObjectType, SchemaBindable

from functions.graphql.context import Info, Scope, User, Users
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind, Order, UserPosition
from functions.graphql.query.selection import Selection
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.connection import Connection, Stretch
from functions.graphql.types.cursor import from_user_cursor, to_user_cursor
from functions.graphql.types.lookahead import Selected
from functions.graphql.types.metric_fields import (
    USERS,
    Figure,
    Measured,
    MeasuredUser,
    Ratio,
    feature_figures,
    measures_of,
    total_figures,
    user_figures,
)
from functions.graphql.types.sdl import FILTERS, PAGE, connection, description
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import upper_snake_case
from functions.shared.catalog.registry import Registry

_DEFAULT_SORT = "TOTAL_EVENT_COUNT_DESC"
_GRAPHQL_TYPES = {str: "String", int: "Long", float: "Float", bool: "Boolean"}


class UserSort(msgspec.Struct, frozen=True):
    """What users are sorted by, under its name in the schema."""

    name: str
    measure: Measure
    descending: bool


class Metrics:
    """The metrics that definitions make, their types and what resolves them."""

    def __init__(self, registry: Registry) -> None:
        self._features = registry.features.values()
        self._total = total_figures()
        self._of_user = user_figures(registry)
        self._of_features = {feature.metrics_field: feature_figures(feature) for feature in self._features}
        self._sorts = {sort.name: sort for sort in self._user_sorts()}

    def text(self) -> str:
        """The types, and the fields that have them."""
        parts = [_feature_text(feature, self._of_features[feature.metrics_field]) for feature in self._features]
        fields = "".join(
            f"{description(f'Of {feature.name}.')}{feature.metrics_field}: {feature.metrics_type_name}!\n"
            for feature in self._features
        )
        parts += [f"extend type {name} {{\n{fields}}}\n" for name in ("AiMetrics", "AiUserMetrics")]
        parts.append(connection("AiUserMetrics", "users"))
        sorts = "\n".join(self._sorts)
        parts.append(f'"What users are sorted by."\nenum AiUserMetricsSort {{\n{sorts}\n}}\n')
        parts.append(f"extend type Namespace {{\n{_fields('ai')}}}\n")
        parts.append(f"extend type Query {{\n{_fields('aiInstance')}}}\n")
        return "\n".join(parts)

    def bindables(self) -> Iterator[SchemaBindable]:
        """What resolves them, but for the fields that have them."""
        yield EnumType("AiUserMetricsSort", self._sorts)
        for name, figures in (("AiMetrics", self._total), ("AiUserMetrics", self._of_user)):
            metrics_type = ObjectType(name)
            _set_figures(metrics_type, figures)
            for field in self._of_features:
                metrics_type.set_field(field, _itself)
            yield metrics_type
        for feature in self._features:
            feature_type = ObjectType(feature.metrics_type_name)
            _set_figures(feature_type, self._of_features[feature.metrics_field])
            yield feature_type

    def of_all(self, scope: Scope, info: Info, **filters: Any) -> Measured:
        """Resolves `aiMetrics`."""
        reading = info.context
        measures = _unique(measures_of(Selected.of(info), self._total, self._of_features))
        if not measures:
            return Measured({})
        selection = select(scope.namespaces, reading.registry, reading.today, filters)
        (values,) = reading.events.aggregate(Aggregation(selection, reading.registry.feature_of, measures))
        return Measured(dict(zip(measures, values, strict=True)))

    def of_users(self, scope: Scope, info: Info, **given: Any) -> Connection[MeasuredUser]:
        """Resolves `aiUserMetrics`."""
        reading = info.context
        selection = select(scope.namespaces, reading.registry, reading.today, given)
        stretch = arguments.stretch(given)
        sort: UserSort = given.get("sort") or self._sorts[_DEFAULT_SORT]
        beyond = stretch.position(lambda cursor: from_user_cursor(sort.name, cursor))
        reading.budget.take(stretch.size)
        selected = Selected.of(info)
        wanted = [
            measure
            for nodes in (selected.below("nodes"), selected.below("edges").below("node"))
            for measure in measures_of(nodes, self._of_user, self._of_features)
        ]

        def read(limit: int) -> list[MeasuredUser]:
            aggregation = _of_users(selection, reading.registry, sort, stretch, wanted, limit, beyond)
            rows = reading.events.aggregate(aggregation)
            users = Users((row[0] for row in rows), reading.directory)
            found = [
                MeasuredUser(dict(zip(aggregation.measures, values, strict=True)), User(user_id, users))
                for user_id, *values in rows
            ]
            return found[::-1] if stretch.backwards else found

        def cursor_of(measured: MeasuredUser) -> str:
            return to_user_cursor(sort.name, UserPosition(measured.values[sort.measure], measured.user.id))

        def count() -> int:
            ((users,),) = reading.events.aggregate(Aggregation(selection, reading.registry.feature_of, (USERS,)))
            return int(users)

        return Connection(stretch, read, cursor_of, count)

    def _user_sorts(self) -> Iterator[UserSort]:
        """By each figure that is a count, or a total of whole numbers."""
        names = [(upper_snake_case(field), figure) for field, figure in self._of_user.items()]
        for feature, figures in self._of_features.items():
            names += [(upper_snake_case(f"{feature}_{field}"), figure) for field, figure in figures.items()]
        for name, figure in names:
            if isinstance(figure, Measure) and _is_sortable(figure):
                yield UserSort(f"{name}_ASC", figure, descending=False)
                yield UserSort(f"{name}_DESC", figure, descending=True)


def _of_users(
    selection: Selection,
    registry: Registry,
    sort: UserSort,
    stretch: Stretch,
    wanted: Sequence[Measure],
    limit: int,
    beyond: UserPosition | None,
) -> Aggregation:
    descending = sort.descending is not stretch.backwards
    return Aggregation(
        selection,
        registry.feature_of,
        measures=_unique([sort.measure, *wanted]),
        dimensions=(Dimension.USER,),
        order=(Order(sort.measure, descending),),
        limit=limit,
        beyond=beyond,
        ties_descend=descending,
    )


def _is_sortable(figure: Measure) -> bool:
    is_total = figure.kind is MeasureKind.SUM and figure.value_type is int
    return is_total or figure.kind in (MeasureKind.EVENTS, MeasureKind.USERS)


def _unique(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    return tuple(dict.fromkeys(measures))


def _set_figures(metrics_type: ObjectType, figures: Mapping[str, Figure]) -> None:
    for field, figure in figures.items():
        metrics_type.set_field(field, _figure_resolver(figure))


def _figure_resolver(figure: Figure) -> Any:
    def resolve(measured: Measured, _: Info) -> Any:
        return measured.figure(figure)

    return resolve


def _itself(measured: Measured, _: Info) -> Measured:
    return measured


def _feature_text(feature: Feature, figures: Mapping[str, Figure]) -> str:
    fields = "".join(
        f"{description(_said(feature, field))}{field}: {_type_text(figure)}\n" for field, figure in figures.items()
    )
    return f"{description(f'How much {feature.name} was used.')}type {feature.metrics_type_name} {{\n{fields}}}\n"


def _said(feature: Feature, field: str) -> str:
    return feature.metrics[field].description if field in feature.metrics else ""


def _type_text(figure: Figure) -> str:
    if isinstance(figure, Ratio):
        return "Float"
    if figure.kind is MeasureKind.DISTINCT:
        return f"[{_GRAPHQL_TYPES[figure.value_type]}!]!"
    return "Float!" if figure.kind is MeasureKind.SUM and figure.value_type is float else "Long!"


def _fields(prefix: str) -> str:
    where = "everything that the token may read" if prefix == "aiInstance" else "the namespace and of all below it"
    return f"""\
{description(f"Figures of {where}.")}{prefix}Metrics(
{FILTERS}): AiMetrics!
{description(f"Figures of each user of {where}.")}{prefix}UserMetrics(
{FILTERS}    "In which order: of the most events first where it is not given."
    sort: AiUserMetricsSort
{PAGE}): AiUserMetricsConnection!
"""
