"""The events of use that the fields about people count."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import msgspec

from functions.graphql.context import Coverage, RequestContext
from functions.graphql.query.days import FIRST_DAY, midnight
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.graphql.types.arguments import select


def use(coverage: Coverage, context: RequestContext, filters: Mapping[str, Any]) -> Selection:
    """The selected events that are use of a feature: all but those that assign and remove seats.

    Raises:
        InvalidArgument: a filter is invalid.
    """
    selection = select(coverage, context.registry, context.today, filters)
    seats = context.registry.seats
    if seats is None:
        return selection
    others = tuple(event_id for event_id in selection.event_ids if event_id not in seats.all_ids.values())
    return msgspec.structs.replace(selection, event_ids=others)


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
