"""`aiUserLifecycle` and `aiUserRetention`: users who are new, who come back and who stay away, by period."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec
from ariadne import EnumType, SchemaBindable

from functions.graphql.context import Coverage, Info
from functions.graphql.query.days import FIRST_DAY, LAST_DAY, midnight
from functions.graphql.query.people import Activity, Earlier
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.graphql.types.sdl import FILTERS, field_of_both
from functions.graphql.types.use import periods_of, since, use

_PERIOD = f"""\
    "How long a period is. Each one that `startDate` and `endDate` touch counts as a whole."
    period: AiUsagePeriod! = WEEK
{FILTERS}"""

_LIFECYCLE = """\
Users of {where} by period: who is new, who returns, who is back, and who stays away. All earlier events that are kept
and pass the other filters count as earlier use, whatever `startDate` is.
{use_only}\
"""
_RETENTION = """\
Users of {where} by the period of their first use, and how many of them came back in each later period. A user whose
first use, among all events that are kept and pass the other filters, is before these periods is in no cohort.
{use_only}\
"""

TEXT = f"""
"The calendar's periods, in UTC."
enum AiUsagePeriod {{
  "Days."
  DAY
  "Weeks from Monday on."
  WEEK
  "Months."
  MONTH
}}

"The users of a period, by when they were there before."
type AiUserLifecycle {{
  "The first day of the period."
  periodStart: Date!
  "Users whose first use of all is in the period."
  newUsersCount: Long!
  "Users who were there in the period before too."
  returningUsersCount: Long!
  "Users who were there before, but not in the period before."
  resurrectedUsersCount: Long!
  "Users of the period before who are not there in this one."
  lapsedUsersCount: Long!
}}

"The users whose first use is in one period."
type AiUserRetention {{
  "The first day of the period of their first use."
  cohortStart: Date!
  "How many there are."
  usersCount: Long!
  "Who of them were there in this period and in each one after it."
  periods: [AiUserRetentionPeriod!]!
}}

"How many users of a cohort were there in one period."
type AiUserRetentionPeriod {{
  "How many periods after that of the first use; 0 for that one itself."
  offset: Int!
  "Users of the cohort who were there."
  usersCount: Long!
  "Their share of the cohort; null for an empty cohort."
  rate: Float
}}

{field_of_both("UserLifecycle", _LIFECYCLE, _PERIOD, "[AiUserLifecycle!]!")}
{field_of_both("UserRetention", _RETENTION, _PERIOD, "[AiUserRetention!]!")}"""


class Lifecycle(msgspec.Struct, frozen=True):
    """A row of `aiUserLifecycle`."""

    period_start: date
    new_users_count: int
    returning_users_count: int
    resurrected_users_count: int
    lapsed_users_count: int


class RetentionPeriod(msgspec.Struct, frozen=True):
    """A row of a cohort's `periods`."""

    offset: int
    users_count: int
    rate: float | None


class Retention(msgspec.Struct, frozen=True):
    """A row of `aiUserRetention`."""

    cohort_start: date
    users_count: int
    periods: list[RetentionPeriod]


def lifecycle_bindables() -> Iterator[SchemaBindable]:
    """The values of `AiUsagePeriod`."""
    yield EnumType("AiUsagePeriod", {period.name: period for period in Period})


def resolve_lifecycle(coverage: Coverage, info: Info, period: Period, **filters: Any) -> list[Lifecycle]:
    """Resolves `aiUserLifecycle`."""
    context = info.context
    selection = use(coverage, context, filters)
    periods = periods_of(selection, period)
    context.budget.take(len(periods))
    before = periods.start - 1
    found = context.events.people(
        Activity(_ever_until(selection, period), period, since=before, earlier=Earlier.PREVIOUS, farthest=2)
    )
    by_distance: Counter[tuple[int, int]] = Counter()
    totals: Counter[int] = Counter()
    for number, distance, users in found:
        by_distance[number, distance] += users
        totals[number] += users
    return [
        Lifecycle(
            period.start_of(number),
            new_users_count=by_distance[number, 0],
            returning_users_count=by_distance[number, 1],
            resurrected_users_count=by_distance[number, 2],
            lapsed_users_count=totals[number - 1] - by_distance[number, 1],
        )
        for number in periods
    ]


def resolve_retention(coverage: Coverage, info: Info, period: Period, **filters: Any) -> list[Retention]:
    """Resolves `aiUserRetention`."""
    context = info.context
    selection = use(coverage, context, filters)
    periods = periods_of(selection, period)
    count = len(periods)
    context.budget.take(count + count * (count + 1) // 2)
    found = context.events.people(
        Activity(_ever_until(selection, period), period, since=periods.start, earlier=Earlier.FIRST, farthest=count)
    )
    users = {(number - offset, offset): users for number, offset, users in found}
    return [_cohort(period, number, periods.stop - number, users) for number in periods]


def _cohort(period: Period, number: int, count: int, users: dict[tuple[int, int], int]) -> Retention:
    size = users.get((number, 0), 0)
    counts = (users.get((number, offset), 0) for offset in range(count))
    rows = [RetentionPeriod(offset, one, one / size if size else None) for offset, one in enumerate(counts)]
    return Retention(period.start_of(number), size, rows)


def _ever_until(selection: Selection, period: Period) -> Selection:
    """The selection from the first event on, until the end of the period that its last day is in."""
    following = period.start_of(periods_of(selection, period).stop)
    end = midnight(min(following, LAST_DAY + timedelta(days=1)))
    return since(msgspec.structs.replace(selection, end=end), FIRST_DAY)
