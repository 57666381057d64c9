"""Measured values of all events or of one user's, with what it takes to measure fewer of these events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from functions.graphql.context import Coverage, RequestContext, UserNode
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind, empty_rows
from functions.graphql.query.conditions import Condition
from functions.graphql.query.metric_fields import MetricValues
from functions.graphql.query.selection import Selection
from functions.graphql.types.use import of_use

type Request = tuple[tuple[Condition, ...], tuple[Measure, ...]]
"""Further conditions that events must fulfil, and what to measure of those that do."""

# Limits of what is measured by one statement: its columns, and its conditions, which it repeats for each measure.
_MAX_COLUMNS = 50
_MAX_CHARACTERS = 20_000


class MeasuredEvents(msgspec.Struct, frozen=True):
    """The events that values were measured of.

    Attributes:
        coverage: the events that the field covers.
        filters: the field's arguments.
        counted: ids of the events that figures of use count; None for all that are selected.
        user_ids: the users on a page, whose events were measured by user; None if all events were measured together.
        found: values of those events that fulfil further conditions, by user.
    """

    selection: Selection
    context: RequestContext
    coverage: Coverage
    filters: Mapping[str, Any]
    counted: frozenset[int] | None
    user_ids: tuple[int, ...] | None = None
    found: dict[Request, Mapping[int | None, Sequence[Any]]] = msgspec.field(default_factory=dict)

    def values(
        self, user_id: int | None, conditions: tuple[Condition, ...], measures: tuple[Measure, ...]
    ) -> MetricValues:
        """Measures the events that fulfil the conditions, of all users on the page at once.

        Args:
            user_id: whose values to return; None if all events are measured together.
        """
        if not measures:
            return MetricValues({})
        request = (conditions, measures)
        if request not in self.found:
            self.found[request] = self._measured(conditions, measures)
        row = self.found[request].get(user_id)
        if row is None:
            (row,) = empty_rows(Aggregation(self.selection, {}, measures))
        return MetricValues(dict(zip(measures, row, strict=True)))

    def measure_together(self, requests: Iterable[Request]) -> None:
        """Measures events for many requests at once, so that `values` need not read them for each; not by user."""
        for together in _statements(requests):
            if len(together) > 1:
                measures = tuple(
                    _where(of_use(measure, self.counted), conditions)
                    for conditions, measures in together
                    for measure in measures
                )
                aggregation = Aggregation(self.selection, self.context.registry.feature_of, measures)
                (row,) = self.context.events.aggregate(aggregation)
                values = iter(row)
                for request in together:
                    self.found[request] = {None: tuple(islice(values, len(request[1])))}

    def where(self, conditions: tuple[Condition, ...]) -> "MeasuredEvents":
        """Those of the events that fulfil the conditions."""
        selection = self._selection_of(conditions)
        return MeasuredEvents(selection, self.context, self.coverage, self.filters, self.counted, self.user_ids)

    def _selection_of(self, conditions: tuple[Condition, ...]) -> Selection:
        return msgspec.structs.replace(self.selection, conditions=(*self.selection.conditions, *conditions))

    def _measured(
        self, conditions: tuple[Condition, ...], measures: tuple[Measure, ...]
    ) -> Mapping[int | None, Sequence[Any]]:
        feature_of = self.context.registry.feature_of
        measures = tuple(of_use(measure, self.counted) for measure in measures)
        selection = self._selection_of(conditions)
        if self.user_ids is None:
            (row,) = self.context.events.aggregate(Aggregation(selection, feature_of, measures))
            return {None: row}
        selection = msgspec.structs.replace(selection, user_ids=self.user_ids)
        by_user = Aggregation(
            selection, feature_of, measures, dimensions=(Dimension.USER,), limit=max(1, len(self.user_ids))
        )
        return {user_id: row for user_id, *row in self.context.events.aggregate(by_user)}


def _statements(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """The requests that can be measured together, those of each statement."""
    together: list[Request] = []
    columns = characters = 0
    for conditions, measures in dict.fromkeys(requests):
        if not conditions or any(measure.kind is MeasureKind.DISTINCT for measure in measures):
            continue
        width, length = len(measures), len(measures) * len(repr(conditions))
        if columns + width > _MAX_COLUMNS or characters + length > _MAX_CHARACTERS:
            yield together
            together, columns, characters = [], 0, 0
        together.append((conditions, measures))
        columns, characters = columns + width, characters + length
    yield together


def _where(measure: Measure, conditions: tuple[Condition, ...]) -> Measure:
    """The measure of those events that fulfil the conditions."""
    return msgspec.structs.replace(
        measure,
        conditions=measure.conditions if measure.of else (*measure.conditions, *conditions),
        of=tuple(_where(part, conditions) for part in measure.of),
    )


class TotalValues(MetricValues, frozen=True):
    """The measured values of all events."""

    events: MeasuredEvents

    @property
    def selection(self) -> Selection:
        """The events that are measured."""
        return self.events.selection

    def where(self, conditions: tuple[Condition, ...], measures: Iterable[Measure]) -> "TotalValues":
        """The measured values of those events that fulfil the conditions."""
        found = self.events.values(None, conditions, tuple(dict.fromkeys(measures)))
        return TotalValues(found.values, self.events.where(conditions))


class UserMetricValues(MetricValues, frozen=True):
    """The measured values of one user's events."""

    events: MeasuredEvents
    user: UserNode

    @property
    def selection(self) -> Selection:
        """The events of the user that are measured."""
        return msgspec.structs.replace(self.events.selection, user_ids=(self.user.id,))

    def where(self, conditions: tuple[Condition, ...], measures: Iterable[Measure]) -> "UserMetricValues":
        """The measured values of those events of the user that fulfil the conditions."""
        found = self.events.values(self.user.id, conditions, tuple(dict.fromkeys(measures)))
        return UserMetricValues(found.values, self.events.where(conditions), self.user)
