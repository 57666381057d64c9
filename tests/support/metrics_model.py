"""A plain model of the metrics, computed from a list of events."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from functions.graphql.query.path import read_path
from functions.shared.catalog.names import camel_case
from functions.shared.catalog.registry import Registry, load
from tests.support.payloads import conditions_of, fulfils, value_at

_WHOLE_NUMBERS = range(-(2**63), 2**64)
DIMENSIONS = ("FEATURE", "EVENT", "USER", "NAMESPACE", "PROJECT", "DAY", "WEEK", "MONTH")


class Event(NamedTuple):
    """A stored event."""

    timestamp: datetime
    event: int
    user: int
    path: str | None
    project: int | None
    payload: dict[str, Any]


class Model:
    """A list of events, and GraphQL's expected answers."""

    def __init__(
        self, events: Sequence[Event], namespaces: tuple[str, ...] | None = None, project: int | None = None
    ) -> None:
        """Keeps the events within the namespaces, all if None, and of the project, if given."""
        self._events = [
            event
            for event in events
            if namespaces is None or (event.path is not None and event.path.startswith(namespaces))
            if project in (None, event.project)
        ]
        self._registry: Registry = load()

    def selected(self, filters: dict[str, Any], within: tuple[datetime, datetime] | None = None) -> list[Event]:
        """The events that pass the filters, within the filters' days or the given period instead."""
        start, end = within or period(filters)
        required = conditions_of(filters.get("payload") or ())
        return [
            event
            for event in self._events
            if start <= event.timestamp < end
            and self._passes(event, filters)
            and all(fulfils(event.payload, each) for each in required)
        ]

    def used(self, filters: dict[str, Any], within: tuple[datetime, datetime] | None = None) -> list[Event]:
        """The selected events that figures of use count."""
        return [event for event in self.selected(filters, within) if names_events(filters) or self.is_use(event)]

    def is_use(self, event: Event) -> bool:
        """Returns whether the event is of a feature that counts as use."""
        return self._registry.by_id[event.event].feature.counts_as_use

    def _passes(self, event: Event, filters: dict[str, Any]) -> bool:
        known = self._registry.by_id.get(event.event)
        excluded = filters.get("not") or {}
        return (
            known is not None
            and known.name.upper() not in (excluded.get("events") or ())
            and known.feature.name.upper() not in (excluded.get("features") or ())
            and (filters.get("events") is None or known.name.upper() in filters["events"])
            and (filters.get("features") is None or known.feature.name.upper() in filters["features"])
            and (filters.get("userIds") is None or str(event.user) in filters["userIds"])
            and (filters.get("projectIds") is None or str(event.project) in filters["projectIds"])
        )

    def feature(self, event: Event) -> str:
        """Returns the name of the event's feature."""
        return self._registry.by_id[event.event].feature.name

    def metrics(self, filters: dict[str, Any]) -> dict[str, Any]:
        """Returns the expected `aiMetrics` for the query `METRICS`."""
        events = self.used(filters)
        return self._totals(events, self.selected(filters)) | {
            "usersCount": users(events),
            "featuresCount": len(set(map(self.feature, events))),
        }

    def _totals(self, events: Sequence[Event], every: Sequence[Event]) -> dict[str, Any]:
        """The figures of the events that count, with those of seats, which have figures of their own."""
        seats = [event for event in every if event.event in (1001, 1002)]
        suggestions = [event for event in events if 1 <= event.event <= 5]
        languages = [event.payload.get("language") for event in suggestions]
        shown = [event for event in suggestions if event.event == 2]
        accepted = [event for event in suggestions if event.event == 3]
        chat = [event for event in events if event.event == 6]
        return {
            "totalEventCount": len(events),
            "codeSuggestions": {
                "totalEventCount": len(suggestions),
                "contributorsCount": users(suggestions),
                "codeSuggestionRejectedInIdeEventCount": sum(event.event == 4 for event in suggestions),
                "shownCount": len(shown),
                "acceptedCount": len(accepted),
                "shownLinesOfCode": lines(shown),
                "acceptedLinesOfCode": lines(accepted),
                "acceptanceRate": len(accepted) / len(shown) if shown else None,
                "languages": sorted({found for found in languages if isinstance(found, str)}),
            },
            "chat": {"totalEventCount": len(chat), "contributorsCount": users(chat)},
            "seats": {"totalEventCount": len(seats), "contributorsCount": users(seats)},
        }

    def user_metrics(self, filters: dict[str, Any], sort: str) -> list[dict[str, Any]]:
        """Returns all expected nodes of `aiUserMetrics`."""
        of_users: dict[int, list[Event]] = {}
        every = self.selected(filters)
        for event in self.used(filters):
            of_users.setdefault(event.user, []).append(event)
        name, _, direction = sort.rpartition("_")
        found = sorted(
            of_users.items(), key=lambda item: (_counted(item[1], name), item[0]), reverse=direction == "DESC"
        )
        return [
            {
                "user": {"id": str(user)},
                "lastDuoActivityOn": max(event.timestamp for event in events).date().isoformat(),
                "codeSuggestionsAcceptedCount": sum(event.event == 3 for event in events),
                "duoChatInteractionsCount": sum(event.event == 6 for event in events),
                **self._totals(events, [event for event in every if event.user == user]),
            }
            for user, events in found
        ]

    def usage(
        self, filters: dict[str, Any], dimensions: Sequence[str], paths: Sequence[str], orders: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Returns all expected rows of `aiUsage`."""
        groups = self._groups(self.used(filters), dimensions, paths)
        if not dimensions and not paths:
            groups.setdefault((), [])
        before = self._before(groups, filters, dimensions, paths)
        rows = [(key, self._row(key, groups[key], before.get(key, []), dimensions, paths)) for key in sorted(groups)]
        for order in reversed(orders or ["TOTAL_COUNT_DESC"]):  # sorting leaves what is alike in its order
            name, _, direction = order.rpartition("_")
            place = dimensions.index(name) if name in dimensions else None
            rows.sort(
                key=lambda item: item[1][camel_case(name.lower())] if place is None else item[0][place],
                reverse=direction == "DESC",
            )
        return [row for _, row in rows]

    def _before(
        self, groups: Iterable[Any], filters: dict[str, Any], dimensions: Sequence[str], paths: Sequence[str]
    ) -> dict[Any, list[Event]]:
        """The events of each group's previous period, which are alike in all but their days."""
        places = [place for place, dimension in enumerate(dimensions) if dimension in ("DAY", "WEEK", "MONTH")]
        found: dict[tuple[datetime, datetime], dict[Any, list[Event]]] = {}
        before: dict[Any, list[Event]] = {}
        for key in groups:
            span = previous_period(filters, {dimensions[place]: key[place] for place in places})
            if span not in found:
                alike = self._groups(self.used(filters, span), dimensions, paths)
                found[span] = {}
                for other, events in alike.items():
                    found[span].setdefault(_without(other, places), []).extend(events)
            before[key] = found[span].get(_without(key, places), [])
        return before

    def _groups(
        self, events: Sequence[Event], dimensions: Sequence[str], paths: Sequence[str]
    ) -> dict[Any, list[Event]]:
        groups: dict[Any, list[Event]] = {}
        for event in events:
            key = tuple(self._key(event, dimension) for dimension in dimensions)
            key += tuple(_scalar(value_at(event.payload, read_path(path))) for path in paths)
            groups.setdefault(key, []).append(event)
        return groups

    def _key(self, event: Event, dimension: str) -> Any:
        match dimension:
            case "FEATURE":
                return self.feature(event)
            case "EVENT":
                return event.event
            case "USER":
                return event.user
            case "NAMESPACE":
                return event.path or ""
            case "PROJECT":
                return event.project or 0
        return _bucket(event.timestamp.date(), dimension)

    def _row(
        self,
        key: Sequence[Any],
        events: Sequence[Event],
        before: Sequence[Event],
        dimensions: Sequence[str],
        paths: Sequence[str],
    ) -> dict[str, Any]:
        keys = ("feature", "event", "user", "namespacePath", "projectId", "day", "week", "month")
        row: dict[str, Any] = dict.fromkeys(keys)
        for dimension, value in zip(dimensions, key, strict=False):
            row |= self._shown(dimension, value)
        seen = {event.user for event in before}
        return row | {
            "payload": dict(zip(paths, (shown for *_, shown in key[len(dimensions) :]), strict=True)),
            "totalCount": len(events),
            "usersCount": users(events),
            "featuresCount": len(set(map(self.feature, events))),
            "previousPeriodUsersCount": len(seen),
            "returningUsersCount": len(seen & {event.user for event in events}),
        }

    def _shown(self, dimension: str, value: Any) -> dict[str, Any]:
        match dimension:
            case "FEATURE":
                return {"feature": value.upper()}
            case "EVENT":
                return {"event": self._registry.by_id[value].name.upper()}
            case "USER":
                return {"user": {"id": str(value)}}
            case "NAMESPACE":
                return {"namespacePath": value or None}
            case "PROJECT":
                return {"projectId": value or None}
        return {dimension.lower(): value.isoformat()}


def names_events(filters: Mapping[str, Any]) -> bool:
    """Returns whether the filters name events or features."""
    return filters.get("events") is not None or filters.get("features") is not None


def period(filters: dict[str, Any]) -> tuple[datetime, datetime]:
    """Returns the first moment of the period, and the first moment after it."""
    start, end = (date.fromisoformat(filters[name]) for name in ("startDate", "endDate"))
    return datetime.combine(start, time(), UTC), datetime.combine(end + timedelta(days=1), time(), UTC)


def previous_period(filters: dict[str, Any], days: dict[str, date]) -> tuple[datetime, datetime]:
    """The whole day, week or month before the group's own, the shortest if it has several; else as many days before."""
    if not days:
        start, end = period(filters)
        return start - (end - start), start
    dimension = next(each for each in ("DAY", "WEEK", "MONTH") if each in days)
    end_day = days[dimension]
    start_day = _bucket(end_day - timedelta(days=1), dimension)
    return datetime.combine(start_day, time(), UTC), datetime.combine(end_day, time(), UTC)


def _without(key: Sequence[Any], places: Sequence[int]) -> tuple[Any, ...]:
    return tuple(value for place, value in enumerate(key) if place not in places)


def _counted(events: Sequence[Event], name: str) -> int:
    """Returns the user's metric that users are sorted by."""
    if name == "CODE_SUGGESTIONS_SHOWN_LINES_OF_CODE":
        return lines([event for event in events if event.event == 2])
    counted = {"CODE_SUGGESTIONS_ACCEPTED_COUNT": (3,), "DUO_CHAT_INTERACTIONS_COUNT": (6,)}.get(name)
    return sum(counted is None or event.event in counted for event in events)


def users(events: Iterable[Event]) -> int:
    """Returns the number of different users."""
    return len({event.user for event in events})


def lines(events: Iterable[Event]) -> int:
    """Returns the sum of the suggestions' sizes that are whole 64-bit numbers."""
    sizes = [event.payload.get("suggestion_size") for event in events]
    numbers = [size for size in sizes if isinstance(size, int | float) and not isinstance(size, bool)]
    return sum(int(number) for number in numbers if number == int(number) and int(number) in _WHOLE_NUMBERS)


def _scalar(value: Any) -> tuple[int, float, str, Any]:
    """Returns the key by which a value is grouped and sorted, followed by the value in the answer."""
    if isinstance(value, bool):
        return 1, 0, str(value), value
    if isinstance(value, int | float):
        return 2, value, "", value
    if isinstance(value, str):
        return 3, 0, value, value
    return 0, 0, "", None


def _bucket(day: date, dimension: str) -> date:
    if dimension == "WEEK":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if dimension == "MONTH" else day
