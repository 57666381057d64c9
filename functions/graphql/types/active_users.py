"""`aiActiveUsers`: users of each day, and of the 7 and 28 days that end on it."""

from datetime import date
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info
from functions.graphql.query.active_users import users_within
from functions.graphql.query.people import Activity, Earlier
from functions.graphql.query.periods import Period
from functions.graphql.types.sdl import FILTERS, field_of_both
from functions.graphql.types.use import periods_of, since, use

WEEKLY_DAYS = 7
MONTHLY_DAYS = 28

ABOUT = """\
Users of {where} by day: those of the day, of the 7 and of the 28 days that end on it. The days before `startDate` count
in the windows of the first days. {use_only}\
"""

TEXT = f"""
"How many users there were on a day and in the days before."
type AiActiveUsers {{
  "The day, in UTC."
  date: Date!
  "Users of the day."
  dailyUsersCount: Long!
  "Users of the {WEEKLY_DAYS} days that end on the day."
  weeklyUsersCount: Long!
  "Users of the {MONTHLY_DAYS} days that end on the day."
  monthlyUsersCount: Long!
  "`dailyUsersCount` divided by `monthlyUsersCount`; null where there was no user."
  stickiness: Float
}}

{field_of_both("ActiveUsers", ABOUT, FILTERS, "[AiActiveUsers!]!")}"""


class ActiveUsers(msgspec.Struct, frozen=True):
    """A row of `aiActiveUsers`."""

    date: date
    daily_users_count: int
    weekly_users_count: int
    monthly_users_count: int

    @property
    def stickiness(self) -> float | None:
        """The share of the monthly users that were there on the day; None without any."""
        return self.daily_users_count / self.monthly_users_count if self.monthly_users_count else None


def resolve_active_users(coverage: Coverage, info: Info, **filters: Any) -> list[ActiveUsers]:
    """Resolves `aiActiveUsers`."""
    context = info.context
    selection = use(coverage, context, filters)
    days = periods_of(selection, Period.DAY)
    context.budget.take(len(days))
    earliest = days.start - MONTHLY_DAYS + 1
    activity = Activity(
        since(selection, Period.DAY.start_of(earliest)),
        Period.DAY,
        since=earliest,
        earlier=Earlier.PREVIOUS,
        farthest=MONTHLY_DAYS,
    )
    rows: list[Any] = context.events.people(activity)
    counts = (users_within(rows, days, width) for width in (1, WEEKLY_DAYS, MONTHLY_DAYS))
    return [ActiveUsers(Period.DAY.start_of(day), *of_day) for day, *of_day in zip(days, *counts, strict=True)]
