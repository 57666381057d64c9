"""`aiSeats`, `aiAdoption` and `aiTimeToFirstUse`: who has a seat, and who of them uses what."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info, RequestContext
from functions.graphql.query.conditions import EqualsAny
from functions.graphql.query.days import FIRST_DAY
from functions.graphql.query.metric_fields import path_of
from functions.graphql.query.people import ALL_SEATS, Adoption, FirstUse, SeatChanges, Seats
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.graphql.types.arguments import select
from functions.graphql.types.filters import text_operand
from functions.graphql.types.quantiles import seconds
from functions.graphql.types.sdl import FILTERS, field_of_both
from functions.graphql.types.use import days_of, periods_of, use

PRODUCT = """\
    "Only seats of this product; of all where it is not given."
    product: String
"""
_DAYS = """\
    "The first day, in UTC; six days before `endDate` where it is not given."
    startDate: Date
    "The last day, in UTC; where it is not given today, or `startDate` if that is later."
    endDate: Date
"""
_SEATS = """\
How many users have a seat at the end of each day, as {where} say. A user with several seats counts once.\
"""
_ADOPTION = """\
The users that have a seat at the end of `endDate`, as {where} say, and how many of them used each feature in the days
that are selected: a row for each feature that is selected, and one for any of them, which comes first. Of the filters,
only `userIds` selects seats.\
"""
_FIRST_USE = """\
How long it took users from their first seat to their first use after it, as {where} say. Both are in the days that are
selected. Of the filters, only these days and `userIds` select seats.\
"""

TEXT = f"""
"How many users have a seat on a day."
type AiSeats {{
  "The day, in UTC."
  date: Date!
  "Users that have a seat at the end of the day."
  assignedCount: Long!
}}

"How many users that have a seat used a feature."
type AiAdoption {{
  "The feature; null for any of those that are selected."
  feature: AiUsageFeature
  "Users that have a seat."
  seatsCount: Long!
  "Users that have a seat and used the feature."
  usersCount: Long!
  "`usersCount` divided by `seatsCount`; null where there is no seat."
  rate: Float
}}

"How long users took to use what they have a seat for."
type AiTimeToFirstUse {{
  "Users that got a seat and used a feature after that."
  usersCount: Long!
  "The median of their times, in seconds; null without any."
  medianSeconds: Float
  "The 90th percentile of their times, in seconds; null without any."
  p90Seconds: Float
}}

{field_of_both("Seats", _SEATS, PRODUCT + _DAYS, "[AiSeats!]!")}
{field_of_both("Adoption", _ADOPTION, PRODUCT + FILTERS, "[AiAdoption!]!")}
{field_of_both("TimeToFirstUse", _FIRST_USE, PRODUCT + FILTERS, "AiTimeToFirstUse!")}"""


class SeatsOfDay(msgspec.Struct, frozen=True):
    """A row of `aiSeats`."""

    date: date
    assigned_count: int


class FeatureAdoption(msgspec.Struct, frozen=True):
    """A row of `aiAdoption`."""

    feature: str | None
    seats_count: int
    users_count: int

    @property
    def rate(self) -> float | None:
        """The share of the users with a seat that used the feature; None without any."""
        return self.users_count / self.seats_count if self.seats_count else None


class TimeToFirstUse(msgspec.Struct, frozen=True):
    """The answer of `aiTimeToFirstUse`."""

    users_count: int
    median_seconds: float | None
    p_90_seconds: float | None


def assigned_users(
    coverage: Coverage, context: RequestContext, filters: Mapping[str, Any], product: str | None = None
) -> int:
    """The number of users that have a seat at the end of the last day of the filters.

    Raises:
        InvalidArgument: a filter is invalid.
    """
    last = select(coverage, context.registry, context.today, filters)
    days = periods_of(last, Period.DAY)
    return _assigned(coverage, context, filters, product, days[-1:])[0]


def resolve_seats(coverage: Coverage, info: Info, product: str | None = None, **filters: Any) -> list[SeatsOfDay]:
    """Resolves `aiSeats`."""
    context = info.context
    days = periods_of(select(coverage, context.registry, context.today, filters), Period.DAY)
    context.budget.take(len(days))
    counts = _assigned(coverage, context, filters, product, days)
    return [SeatsOfDay(Period.DAY.start_of(day), count) for day, count in zip(days, counts, strict=True)]


def resolve_adoption(
    coverage: Coverage, info: Info, product: str | None = None, **filters: Any
) -> list[FeatureAdoption]:
    """Resolves `aiAdoption`."""
    context = info.context
    selection = use(coverage, context, filters)
    feature_of = {event_id: context.registry.feature_of[event_id] for event_id in selection.event_ids}
    features = sorted(set(feature_of.values()))
    context.budget.take(1 + len(features))
    users: dict[str, int] = {}
    if (seats := seats_until(coverage, context, filters, product)) is not None:
        if selection.selects_nothing:
            users[ALL_SEATS] = assigned_users(coverage, context, filters, product)
        else:
            users = dict(context.events.people(Adoption(selection, seats, feature_of)))
    total = users.get(ALL_SEATS, 0)
    return [FeatureAdoption(feature, total, users.get(feature or "", 0)) for feature in (None, *features)]


def resolve_time_to_first_use(
    coverage: Coverage, info: Info, product: str | None = None, **filters: Any
) -> TimeToFirstUse:
    """Resolves `aiTimeToFirstUse`."""
    context = info.context
    selection = use(coverage, context, filters)
    context.budget.take(1)
    seats = seats_until(coverage, context, filters, product)
    if seats is None:
        return TimeToFirstUse(0, None, None)
    assigned = msgspec.structs.replace(seats.selection, start=selection.start, event_ids=seats.assigned_ids)
    for users, median, p90 in context.events.people(FirstUse(selection, assigned)):
        return TimeToFirstUse(users, seconds(median), seconds(p90))
    return TimeToFirstUse(0, None, None)


def _assigned(
    coverage: Coverage, context: RequestContext, filters: Mapping[str, Any], product: str | None, days: range
) -> list[int]:
    """The number of users that have a seat at the end of each day."""
    seats = seats_until(coverage, context, filters, product)
    changes: dict[int, int] = {}
    if seats is not None:
        changes = dict(context.events.people(SeatChanges(seats, since=days.start)))
    total, counts = 0, []
    for day in days:
        total += changes.get(day, 0)
        counts.append(total)
    return counts


def seats_until(
    coverage: Coverage, context: RequestContext, filters: Mapping[str, Any], product: str | None
) -> Seats | None:
    """The events of seats from the first on, until the last day of the filters; None if no definition declares any."""
    feature = context.registry.seats
    if feature is None or feature.seat_events is None:
        return None
    declared = feature.seat_events
    path = path_of(declared.product)
    _, last = days_of(select(coverage, context.registry, context.today, filters))
    given = {"start_date": FIRST_DAY, "end_date": last, "user_ids": filters.get("user_ids")}
    selection: Selection = msgspec.structs.replace(
        select(coverage, context.registry, context.today, given),
        event_ids=feature.ids_of((*declared.assigned, *declared.removed)),
        conditions=() if product is None else (EqualsAny(path, (text_operand("product", product),)),),
    )
    return Seats(selection, feature.ids_of(declared.assigned), path)
