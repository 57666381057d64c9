"""Resolvers of the fields that teams add to `AiUsageData`."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info, RequestContext
from functions.graphql.query.aggregation import Aggregation, Measure, MeasureKind
from functions.graphql.query.metric_fields import path_of
from functions.graphql.query.selection import Selection
from functions.graphql.types.arguments import select
from functions.shared.catalog.event_query import ResolverFunction
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import value_type
from functions.shared.catalog.payload_type import type_at


class FeatureEventQuery:
    """An `EventQuery` for the events of one feature in a selection."""

    def __init__(self, feature: Feature, selection: Selection, context: RequestContext) -> None:
        self._feature = feature
        self._selection = selection
        self._context = context

    def count(self, *events: str) -> int:
        """See `EventQuery.count`."""
        return int(self._measured(Measure(MeasureKind.EVENTS, self._feature.ids_of(events))))

    def users(self, *events: str) -> int:
        """See `EventQuery.users`."""
        return int(self._measured(Measure(MeasureKind.USERS, self._feature.ids_of(events))))

    def sum(self, path: str, *events: str) -> int | float:
        """See `EventQuery.sum`."""
        total: int | float = self._measured(self._measure_at(MeasureKind.SUM, path, (int, float), events))
        return total

    def distinct(self, path: str, *events: str) -> list[Any]:
        """See `EventQuery.distinct`."""
        return list(
            self._measured(self._measure_at(MeasureKind.DISTINCT, path, (str, int, float, bool, datetime), events))
        )

    def _measure_at(self, kind: MeasureKind, path: str, of: Collection[type], events: Sequence[str]) -> Measure:
        """A measure of the values at a path. Raises ValueError unless the key is declared with a type in `of`."""
        if type_at(self._feature.payload_types, path) not in of:
            names = " or ".join(one.__name__ for one in of)
            raise ValueError(f"{self._feature.file}: the payload class declares no key {path!r} of type {names}")
        return Measure(kind, self._feature.ids_of(events), path_of(path), value_type(self._feature.payload_types, path))

    def _measured(self, measure: Measure) -> Any:
        aggregation = Aggregation(self._selection, self._context.registry.feature_of, (measure,))
        ((value,),) = self._context.events.aggregate(aggregation)
        return value


def team_field_resolver(feature: Feature, function: ResolverFunction) -> Callable[..., Any]:
    """The GraphQL resolver that calls a team's resolver function."""

    def resolve(coverage: Coverage, info: Info, **filters: Any) -> Any:
        context = info.context
        selection = select(coverage, context.registry, context.today, filters)
        ids = tuple(event_id for event_id in selection.event_ids if event_id in feature.all_ids.values())
        query = FeatureEventQuery(feature, msgspec.structs.replace(selection, event_ids=ids), context)
        try:
            value = function(query)
        except SystemExit as error:
            raise RuntimeError("the resolver ends the program") from error  # an error of its field, like any other
        msgspec.json.encode(value)  # raises here, at its own field, if JSON can't hold the value
        return value

    return resolve
