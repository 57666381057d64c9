"""A plain model of the fields about people, computed from a list of events."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tests.support.metrics_model import Event, Model

ASSIGNED, REMOVED = 1001, 1002
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


class PeopleModel(Model):
    """A list of events, and GraphQL's expected answers about people."""

    def used(self, filters: dict[str, Any], within: tuple[datetime, datetime] | None = None) -> list[Event]:
        """The selected events that are use of a feature."""
        return [event for event in self.selected(filters, within) if event.event not in (ASSIGNED, REMOVED)]

    def active_users(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiActiveUsers`."""
        rows = []
        for day in days_of(filters):
            daily, weekly, monthly = (
                len({event.user for event in self.used(filters, days_before(day, width))}) for width in (1, 7, 28)
            )
            rows.append(
                {
                    "date": day.isoformat(),
                    "dailyUsersCount": daily,
                    "weeklyUsersCount": weekly,
                    "monthlyUsersCount": monthly,
                    "stickiness": daily / monthly if monthly else None,
                }
            )
        return rows


def days_of(filters: dict[str, Any]) -> Iterable[date]:
    """The days of the filters."""
    first, last = (date.fromisoformat(filters[name]) for name in ("startDate", "endDate"))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def days_before(day: date, width: int) -> tuple[datetime, datetime]:
    """The first moment of the `width` days that end on a day, and the moment after the last one."""
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    return end - timedelta(days=width), end
