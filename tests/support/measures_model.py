"""What `measures` of `aiUsage` should answer, computed from a list of events in plain Python."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction
from functools import cmp_to_key, partial
from itertools import chain
from typing import Any

from functions.graphql.query.path import read_path
from functions.graphql.query.scalar import stored_number
from tests.support.metrics_model import Event, Model, lines, names_events, users
from tests.support.payloads import conditions_of, fulfils, value_at

LARGE = 10**30
_PLACES = Decimal(10) ** -40
_EXACT = Context(prec=500)


class MeasuresModel(Model):
    """A list of events, and the expected rows of `aiUsage` with measures."""

    def rows(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns all expected rows, each as its keys, its measures and its number of events."""
        named = [_named(measure) for measure in query["measures"]]
        events = [
            event
            for event in self.selected(dict(query))
            if names_events(query) or self.is_use(event) or any(self._passes(event, each) for each in chain(*named))
        ]
        groups = self._groups(events, query["groups"], query["paths"])
        if not query["groups"] and not query["paths"]:
            groups.setdefault((), [])
        found = []
        for key in sorted(groups):
            used = groups[key] if names_events(query) else list(filter(self.is_use, groups[key]))
            row = self._row(key, used, [], query["groups"], query["paths"])
            row |= {each["name"]: self.measured(groups[key], used, each) for each in query["measures"]}
            if all(_passes(row, each) for each in query["having"]):
                found.append(row)
        for each in reversed(query["by"]):  # sorting leaves what is alike in its order
            found.sort(key=cmp_to_key(partial(_compared, each["name"], each["direction"] == "DESC")))
        return found

    def measured(self, every: Sequence[Event], events: Sequence[Event], measure: Mapping[str, Any]) -> Any:
        """Returns the value of one of the query's measures, of every event if it names events, else of those of use."""
        (way,) = measure.keys() - {"name", "of"}
        of = measure[way]
        match way:
            case "count":
                return self._count(every if names_events(of) else events, of)
            case "ratio":
                parts = (of["of"], of["to"])
                return _divided(*(self._count(every if names_events(part) else events, part) for part in parts))
            case "distinct":
                scalars = (value_at(event.payload, read_path(of)) for event in events)
                return len({_alike(value) for value in scalars if isinstance(value, str | bool | int | float)})
            case "metric":
                return self._metric(events, of)
            case "quantile":
                return quantile(sorted(map(float, numbers(events, measure["of"]))), of)
        found = numbers(events, of)
        if not found:
            return None
        if way == "avg":
            return float(sum(map(Fraction, found)) / len(found))
        exact = sum(map(Fraction, found)) if way == "sum" else min(found) if way == "min" else max(found)
        return int(exact) if exact == int(exact) else float(exact)

    def _count(self, events: Sequence[Event], of: Mapping[str, Any]) -> int:
        required = conditions_of(of.get("payload") or ())
        return sum(
            self._passes(event, dict(of)) and all(fulfils(event.payload, each) for each in required) for event in events
        )

    def _metric(self, events: Sequence[Event], metric: str) -> Any:
        suggestions = [event for event in events if 1 <= event.event <= 5]
        shown = [event for event in suggestions if event.event == 2]
        match metric:
            case "codeSuggestions.acceptanceRate":
                return _divided(sum(event.event == 3 for event in suggestions), len(shown))
            case "codeSuggestions.contributorsCount":
                return users(suggestions)
            case "codeSuggestions.shownLinesOfCode":
                return lines(shown)
            case "codeSuggestions.languages":
                languages = (event.payload.get("language") for event in suggestions)
                return len({language for language in languages if isinstance(language, str)})
        raise ValueError(f"the model knows no metric {metric}")


def numbers(events: Sequence[Event], path: str) -> list[Decimal]:
    """Returns the numbers at a path that measures take, to 40 decimal places."""
    found = (value_at(event.payload, read_path(path)) for event in events)
    stored = (stored_number(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool))
    return [number.quantize(_PLACES, ROUND_DOWN, _EXACT) for number in stored if abs(number) < LARGE]


def quantile(ordered: Sequence[float], level: float) -> float | None:
    """Returns the quantile of ordered numbers, interpolated between the two that are nearest to it."""
    if not ordered:
        return None
    place = level * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _named(measure: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the filters of the events that a measure names."""
    ratio = measure.get("ratio") or {}
    counts = [dict(of) for of in (measure.get("count"), ratio.get("of"), ratio.get("to")) if of is not None]
    return [{name: of.get(name) for name in ("events", "features")} for of in counts if names_events(of)]


def _divided(dividend: int, divisor: int) -> float | None:
    return dividend / divisor if divisor else None


def _alike(value: Any) -> tuple[str, Any]:
    """Returns a scalar so that those of one kind that are equal are equal, and others are not."""
    if isinstance(value, bool):
        return "boolean", value
    return ("string", value) if isinstance(value, str) else ("number", stored_number(value))


def _passes(row: Mapping[str, Any], having: Mapping[str, Any]) -> bool:
    value = row[having["name"]]
    if "exists" in having and (value is not None) != having["exists"]:
        return False
    compared = {
        "eq": lambda of: value == of,
        "ne": lambda of: value != of,
        "gt": lambda of: value > of,
        "gte": lambda of: value >= of,
        "lt": lambda of: value < of,
        "lte": lambda of: value <= of,
    }
    return all(value is not None and compared[name](of) for name, of in having.items() if name in compared)


def _compared(name: str, descending: bool, one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """Compares two rows by a measure; rows without a value come last."""
    left, right = one[name], other[name]
    if left is None or right is None:
        return int(left is None) - int(right is None)
    order = int(left > right) - int(left < right)
    return -order if descending else order
