"""The events that figures of use count."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec

from functions.graphql.context import Coverage, RequestContext
from functions.graphql.query.aggregation import Aggregation, Measure
from functions.graphql.query.days import FIRST_DAY, midnight
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.graphql.types.arguments import select
from functions.shared.catalog.registry import Registry


def use(
    coverage: Coverage, context: RequestContext, filters: Mapping[str, Any], further: Collection[int] = ()
) -> Selection:
    """The selected events that figures of use count; see `counted_ids`.

    Args:
        further: ids of events that count too, if they are selected.

    Raises:
        InvalidArgument: a filter is invalid.
    """
    selection = select(coverage, context.registry, context.today, filters)
    counted = counted_ids(context.registry, filters)
    if counted is None:
        return selection
    event_ids = tuple(event for event in selection.event_ids if event in counted or event in further)
    return msgspec.structs.replace(selection, event_ids=event_ids)


def counted_ids(registry: Registry, filters: Mapping[str, Any]) -> frozenset[int] | None:
    """The ids of the events that figures of use count; None for all that the filters select.

    These are the events of features that count as use; or, where `events` or `features` names any, those named.
    """
    names_events = filters.get("events") is not None or filters.get("features") is not None
    return None if names_events else registry.use_ids


def of_use(measure: Measure, counted: frozenset[int] | None) -> Measure:
    """The measure of the counted events alone, where it names no events itself; the measure as it is for None."""
    if counted is None:
        return measure
    if measure.of:
        return msgspec.structs.replace(measure, of=tuple(of_use(part, counted) for part in measure.of))
    return (
        measure if measure.event_ids is not None else msgspec.structs.replace(measure, event_ids=tuple(sorted(counted)))
    )


def aggregation_of_use(aggregation: Aggregation, counted: frozenset[int] | None) -> Aggregation:
    """The aggregation with each measure `of_use`."""
    if counted is None:
        return aggregation
    return msgspec.structs.replace(
        aggregation,
        measures=tuple(of_use(measure, counted) for measure in aggregation.measures),
        order=tuple(
            msgspec.structs.replace(each, by=of_use(each.by, counted)) if isinstance(each.by, Measure) else each
            for each in aggregation.order
        ),
        having=tuple(
            msgspec.structs.replace(each, measure=of_use(each.measure, counted)) for each in aggregation.having
        ),
    )


def days_of(selection: Selection) -> tuple[date, date]:
    """The first day of the selection, and its last."""
    return selection.start.date(), selection.end.date() - timedelta(days=1)


def since(selection: Selection, day: date) -> Selection:
    """The selection from another day on, but not before the first day that events can be of."""
    return msgspec.structs.replace(selection, start=midnight(max(day, FIRST_DAY)))


def periods_of(selection: Selection, period: Period) -> range:
    """The numbers of the periods that have a day of the selection."""
    first, last = days_of(selection)
    return range(period.number_of(first), period.number_of(last) + 1)
