"""What the fields that teams add to `AiUsageData` are answered from."""

from collections.abc import Callable
from typing import Any

import msgspec

from functions.graphql.aggregation import Aggregation, Kind, Measure
from functions.graphql.figures import path_of, value_type
from functions.graphql.reading import Info, Reading, Scope
from functions.graphql.selection import Selection, select
from functions.shared.feature import Feature
from functions.shared.usage import Usage


class SelectedUsage:
    """The events of one feature that are selected: a `Usage`."""

    def __init__(self, feature: Feature, selection: Selection, reading: Reading) -> None:
        self._feature = feature
        self._selection = selection
        self._reading = reading

    def count(self, *events: str) -> int:
        """As `Usage.count`."""
        return int(self._measured(Measure(Kind.EVENTS, self._feature.ids_of(events))))

    def users(self, *events: str) -> int:
        """As `Usage.users`."""
        return int(self._measured(Measure(Kind.USERS, self._feature.ids_of(events))))

    def sum(self, path: str, *events: str) -> int | float:
        """As `Usage.sum`."""
        number_type = float if value_type(self._feature, path) is float else int
        total: int | float = self._measured(Measure(Kind.SUM, self._feature.ids_of(events), path_of(path), number_type))
        return total

    def distinct(self, path: str, *events: str) -> list[Any]:
        """As `Usage.distinct`."""
        ids = self._feature.ids_of(events)
        return list(self._measured(Measure(Kind.DISTINCT, ids, path_of(path), value_type(self._feature, path))))

    def _measured(self, measure: Measure) -> Any:
        aggregation = Aggregation(self._selection, self._reading.registry.feature_of, (measure,))
        ((value,),) = self._reading.events.aggregate(aggregation)
        return value


def usage_resolver(feature: Feature, answer: Callable[[Usage], Any]) -> Callable[..., Any]:
    """The resolver of a field that `answer` answers."""

    def resolve(scope: Scope, info: Info, **filters: Any) -> Any:
        reading = info.context
        selection = select(scope.namespaces, reading.registry, reading.today, filters)
        ids = tuple(event_id for event_id in selection.event_ids if event_id in feature.all_ids.values())
        return answer(SelectedUsage(feature, msgspec.structs.replace(selection, event_ids=ids), reading))

    return resolve
