"""A plain model of the fields about people, computed from a list of events."""

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from tests.support.metrics_model import Event, Model, names_events

ASSIGNED, REMOVED = 1001, 1002
BEGINS, COMPLETES, ENDS = (8, 9), (19,), (19, 20, 21)
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


class PeopleModel(Model):
    """A list of events, and GraphQL's expected answers about people."""

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

    def lifecycle(self, filters: dict[str, Any], period: str) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiUserLifecycle`."""
        periods, users = self._by_period(filters, period)
        rows = []
        for before, own in pairwise([previous(periods[0], period), *periods]):
            ever = set().union(*(found for start, found in users.items() if start < own))
            now, last = users.get(own, set()), users.get(before, set())
            rows.append(
                {
                    "periodStart": own.isoformat(),
                    "newUsersCount": len(now - ever),
                    "returningUsersCount": len(now & last),
                    "resurrectedUsersCount": len((now & ever) - last),
                    "lapsedUsersCount": len(last - now),
                }
            )
        return rows

    def retention(self, filters: dict[str, Any], period: str) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiUserRetention`."""
        periods, users = self._by_period(filters, period)
        rows = []
        for number, start in enumerate(periods):
            ever = set().union(*(found for other, found in users.items() if other < start))
            cohort = users.get(start, set()) - ever
            counts = [len(cohort & users.get(later, set())) for later in periods[number:]]
            shown = [
                {"offset": offset, "usersCount": count, "rate": count / len(cohort) if cohort else None}
                for offset, count in enumerate(counts)
            ]
            rows.append({"cohortStart": start.isoformat(), "usersCount": len(cohort), "periods": shown})
        return rows

    def tiers(self, filters: dict[str, Any], thresholds: list[int]) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiUsageTiers`."""
        totals = Counter(event.user for event in self.used(filters)).values()
        return [
            {
                "minimum": least,
                "maximum": following and following - 1,
                "usersCount": sum(least <= total < (following or math.inf) for total in totals),
            }
            for least, following in pairwise([*thresholds, None])
            if least is not None
        ]

    def seats(self, filters: dict[str, Any], product: str | None) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiSeats`."""
        return [
            {"date": day.isoformat(), "assignedCount": len(self._holders(day, {}, product))} for day in days_of(filters)
        ]

    def adoption(self, filters: dict[str, Any], product: str | None) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiAdoption`."""
        holders = self._holders(date.fromisoformat(filters["endDate"]), filters, product)
        used = [event for event in self.used(filters) if event.user in holders]
        rows = []
        for feature in (None, *self._features(filters)):
            count = len({event.user for event in used if feature in (None, self.feature(event))})
            rows.append(
                {
                    "feature": feature and feature.upper(),
                    "seatsCount": len(holders),
                    "usersCount": count,
                    "rate": count / len(holders) if holders else None,
                }
            )
        return rows

    def idle_seats(self, filters: dict[str, Any], product: str | None) -> dict[str, Any]:
        """Returns the expected `aiIdleSeats`."""
        states = self._seats(date.fromisoformat(filters["endDate"]), filters, product)
        used = {event.user for event in self.used(filters)}
        since: dict[int, date] = {}
        for (user, *_), last in states.items():
            if last.event == ASSIGNED and user not in used:
                since[user] = min(since.get(user, date.max), last.timestamp.date())
        nodes = [{"user": {"id": str(user)}, "assignedOn": day.isoformat()} for user, day in sorted(since.items())]
        return {"nodes": nodes, "count": len(nodes)}

    def first_use(self, filters: dict[str, Any], product: str | None) -> dict[str, Any]:
        """Returns the expected `aiTimeToFirstUse`."""
        within = _of(filters)
        assigned = [event for event in self._seat_events(filters, product) if event.event == ASSIGNED]
        waited = []
        for user in {event.user for event in assigned}:
            begun = [event.timestamp for event in assigned if event.user == user and within[0] <= event.timestamp]
            begun = [moment for moment in begun if moment < within[1]]
            uses = [event.timestamp for event in self.used(filters) if event.user == user]
            if begun and (after := [moment for moment in uses if moment >= min(begun)]):
                waited.append((min(after) - min(begun)).total_seconds())
        return {
            "usersCount": len(waited),
            "medianSeconds": quantile(waited, 0.5),
            "p90Seconds": quantile(waited, 0.9),
        }

    def session_rows(self, filters: dict[str, Any], by: list[str], paths: list[str]) -> list[dict[str, Any]]:
        """Returns the expected rows of `aiSessions`."""
        groups: dict[Any, list[list[Event]]] = {}
        selected = set(map(id, self.selected(filters)))
        for events in self._sessions():
            if id(events[0]) in selected:
                key = tuple(self._key(events[0], dimension) for dimension in by)
                key += tuple(events[0].payload.get(path) for path in paths)
                groups.setdefault(key, []).append(events)
        if not by and not paths:
            groups.setdefault((), [])
        names = ("feature", "event", "user", "namespacePath", "projectId", "day", "week", "month")
        rows = []
        for key in sorted(groups, key=lambda key: (-len(groups[key]), [(value is not None, value) for value in key])):
            row: dict[str, Any] = dict.fromkeys(names)
            for dimension, value in zip(by, key, strict=False):
                row |= self._shown(dimension, value)
            rows.append(row | {"payload": dict(zip(paths, key[len(by) :], strict=True))} | _measured(groups[key]))
        return rows

    def _sessions(self) -> list[list[Event]]:
        """The events of each session, from the first one on that begins it, in the order of time."""
        found: dict[Any, list[Event]] = {}
        for event in sorted(self.selected({}, ALWAYS), key=lambda event: event.timestamp):
            session = event.payload.get("session_id")
            if event.event in (*BEGINS, *ENDS) and type(session) is int:
                key = (event.path, session)
                if event.event in BEGINS or key in found:
                    found.setdefault(key, []).append(event)
        return list(found.values())

    def _by_period(self, filters: dict[str, Any], period: str) -> tuple[list[date], dict[date, set[int]]]:
        """The first days of the filters' periods, and the users of all periods by first day."""
        periods = sorted({bucket(day, period) for day in days_of(filters)})
        users: dict[date, set[int]] = {}
        for event in self.used(filters, ALWAYS):
            users.setdefault(bucket(event.timestamp.date(), period), set()).add(event.user)
        return periods, users

    def _features(self, filters: dict[str, Any]) -> list[str]:
        known = [
            event for event in self._registry.by_id.values() if names_events(filters) or event.feature.counts_as_use
        ]
        return sorted(
            {
                event.feature.name
                for event in known
                if filters.get("events") is None or event.name.upper() in filters["events"]
                if filters.get("features") is None or event.feature.name.upper() in filters["features"]
            }
        )

    def _seat_events(self, filters: dict[str, Any], product: str | None) -> list[Event]:
        of_users = {"userIds": filters.get("userIds")}
        return [
            event
            for event in self.selected(of_users, ALWAYS)
            if event.event in (ASSIGNED, REMOVED) and product in (None, event.payload.get("product"))
        ]

    def _holders(self, day: date, filters: dict[str, Any], product: str | None) -> set[int]:
        """The users that have a seat at the end of the day."""
        return {user for (user, *_), last in self._seats(day, filters, product).items() if last.event == ASSIGNED}

    def _seats(self, day: date, filters: dict[str, Any], product: str | None) -> dict[Any, Event]:
        """The last event of each seat at the end of the day."""
        states: dict[Any, Event] = {}
        for event in self._seat_events(filters, product):
            seat = (event.user, event.path, event.payload.get("product"))
            last = states.get(seat)
            if event.timestamp.date() <= day and (last is None or _order(last) < _order(event)):
                states[seat] = event
        return states


def _measured(sessions: list[list[Event]]) -> dict[str, Any]:
    """The measures of a group of sessions."""
    ended = [[event for event in events if event.event in ENDS] for events in sessions]
    completed = sum(any(event.event in COMPLETES for event in events) for events in ended)
    abandoned = sum(bool(events) for events in ended) - completed
    durations = [
        (ends[-1].timestamp - events[0].timestamp).total_seconds()
        for events, ends in zip(sessions, ended, strict=True)
        if ends
    ]
    return {
        "sessionsCount": len(sessions),
        "usersCount": len({events[0].user for events in sessions}),
        "completedCount": completed,
        "completionRate": completed / len(sessions) if sessions else None,
        "abandonedCount": abandoned,
        "abandonmentRate": abandoned / len(sessions) if sessions else None,
        "openCount": len(sessions) - len(durations),
        "openRate": (len(sessions) - len(durations)) / len(sessions) if sessions else None,
        "medianDuration": quantile(durations, 0.5),
        "p95Duration": quantile(durations, 0.95),
    }


def _order(event: Event) -> Any:
    return event.timestamp, getattr(event, "id", 0)


def _of(filters: dict[str, Any]) -> tuple[datetime, datetime]:
    days = list(days_of(filters))
    return days_before(days[-1], len(days))


def bucket(day: date, period: str) -> date:
    """The first day of the period that the day is in."""
    if period == "WEEK":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "MONTH" else day


def previous(start: date, period: str) -> date:
    """The first day of the period before."""
    return bucket(start - timedelta(days=1), period)


def quantile(values: list[float], level: float) -> float | None:
    """The interpolated quantile: 15 of 10 and 20 for 0.5; None without a value."""
    if not values:
        return None
    ordered = sorted(round(value * 1_000_000) for value in values)
    place = level * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return round(low + (place - math.floor(place)) * (high - low)) / 1_000_000


def days_of(filters: dict[str, Any]) -> Iterable[date]:
    """The days of the filters."""
    first, last = (date.fromisoformat(filters[name]) for name in ("startDate", "endDate"))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def days_before(day: date, width: int) -> tuple[datetime, datetime]:
    """The first moment of the `width` days that end on a day, and the moment after the last one."""
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    return end - timedelta(days=width), end
