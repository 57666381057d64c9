"""Reads the arguments of `aiUsage` that say what to measure of a group: `measures`, `having`, `orderByMeasures`."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from functions.graphql.query.aggregation import HasValue, Having, Measure, MeasureKind, Order
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.metric_fields import Ratio, feature_metric_fields
from functions.graphql.query.path import read_path
from functions.graphql.types.arguments import selected_events
from functions.graphql.types.filters import check_steps, conditions
from functions.shared.catalog.names import is_graphql_name
from functions.shared.catalog.registry import Registry

MAX_MEASURES = 20
MAX_HAVING = 20

_KINDS = {
    "sum": MeasureKind.TOTAL,
    "avg": MeasureKind.AVERAGE,
    "min": MeasureKind.LEAST,
    "max": MeasureKind.GREATEST,
    "distinct": MeasureKind.SCALAR_COUNT,
}
_WAYS = (*_KINDS, "quantile", "count", "ratio", "metric")
_COMPARISONS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

MEASURE_ARGUMENTS = """\
    "What to measure of each group, besides the counts: at most 20."
    measures: [AiUsageMeasure!]
    "Only rows whose numbers pass all of these: at most 20."
    having: [AiUsageHaving!]
    "By which numbers rows are sorted first; rows in which these are alike come in the order of `orderBy`."
    orderByMeasures: [AiUsageMeasureOrder!]
"""


class RowMeasures:
    """The numbers of a row that a query may name: the fields of every row, and the `measures` of the query.

    Args:
        fields: measures of the fields, by name.

    Raises:
        InvalidArgument: a measure is invalid, or there are too many.
    """

    def __init__(self, given: Sequence[Mapping[str, Any]], fields: Mapping[str, Measure], registry: Registry) -> None:
        if len(given) > MAX_MEASURES:
            raise InvalidArgument(f"measures takes at most {MAX_MEASURES} measures, not {len(given)}.")
        self._fields = fields
        self._registry = registry
        self.asked: dict[str, Measure] = {}
        for each in given:
            name = each["name"]
            if not is_graphql_name(name):
                raise InvalidArgument(f"measures: {name[:40]!r} is not a name of letters, digits and underscores.")
            if name in self.asked or name in fields:
                raise InvalidArgument(
                    f"measures: the name {name[:40]!r} is taken; give each measure a name of its own."
                )
            self.asked[name] = self._measure(name, each)
        parts = (part for measure in self.asked.values() for part in measure.with_parts)
        check_steps("measures", (condition for part in parts for condition in part.conditions))

    @property
    def event_ids(self) -> frozenset[int]:
        """The ids of the events that the measures of the query name."""
        parts = (part for measure in self.asked.values() for part in measure.with_parts)
        return frozenset(event for part in parts for event in part.event_ids or ())

    def having(self, given: Sequence[Mapping[str, Any]]) -> tuple[Having | HasValue, ...]:
        """The conditions of the argument `having`.

        Raises:
            InvalidArgument: a condition is invalid, or there are too many.
        """
        if len(given) > MAX_HAVING:
            raise InvalidArgument(f"having takes at most {MAX_HAVING} conditions, not {len(given)}.")
        return tuple(condition for each in given for condition in self._conditions(each))

    def order(self, given: Iterable[Mapping[str, Any]]) -> tuple[Order, ...]:
        """The sort keys of the argument `orderByMeasures`.

        Raises:
            InvalidArgument: no number of the row has the name.
        """
        found = (Order(self._named("orderByMeasures", each["name"]), each["direction"] == "DESC") for each in given)
        return tuple({order.by: order for order in reversed(list(found))}.values())[::-1]

    def _named(self, argument: str, name: str) -> Measure:
        measure = self.asked.get(name) or self._fields.get(name)
        if measure is None:
            known = ", ".join([*self.asked, *self._fields])
            raise InvalidArgument(f"{argument}: no number of the row is called {name[:40]!r}; there are {known}.")
        return measure

    def _conditions(self, given: Mapping[str, Any]) -> Iterator[Having | HasValue]:
        measure = self._named("having", given["name"])
        if given.get("exists") is not None:
            yield HasValue(measure, given["exists"])
        operators = [operator for operator in _COMPARISONS if operator in given]
        if not operators and given.get("exists") is None:
            raise InvalidArgument(f"having: {given['name']} needs at least one of {', '.join(_COMPARISONS)}, exists.")
        for operator in operators:
            yield Having(measure, _COMPARISONS[operator], _number(operator, given[operator]))

    def _measure(self, name: str, given: Mapping[str, Any]) -> Measure:
        ways = [way for way in _WAYS if given.get(way) is not None]
        if len(ways) != 1:
            raise InvalidArgument(f"measures: {name} needs one of {', '.join(_WAYS)}, not {len(ways)} of them.")
        (way,) = ways
        if (way == "quantile") != (given.get("of") is not None):
            raise InvalidArgument(f"measures: {name} needs quantile and of together.")
        if way == "metric":
            return self._declared(name, given["metric"])
        if way == "count":
            return self._count(given["count"], name)
        if way == "ratio":
            parts = (self._count(given["ratio"]["of"]), self._count(given["ratio"]["to"]))
            return Measure(MeasureKind.RATIO, of=parts, name=name)
        if way == "quantile":
            level = given["quantile"]
            if not 0 <= level <= 1:
                raise InvalidArgument(f"measures: quantile must be from 0 to 1, not {level:g}.")
            return Measure(MeasureKind.QUANTILE, None, _path(given["of"]), float, level=float(level), name=name)
        return Measure(_KINDS[way], None, _path(given[way]), float, name=name)

    def _count(self, given: Mapping[str, Any], name: str = "") -> Measure:
        events, features = given.get("events"), given.get("features")
        ids = None if events is None and features is None else selected_events(self._registry, events, features)
        passed = conditions(given.get("payload") or ())
        return Measure(MeasureKind.EVENTS, ids, conditions=passed, name=name)

    def _declared(self, name: str, metric: str) -> Measure:
        field, _, metric_name = metric.partition(".")
        feature = next((each for each in self._registry.features.values() if each.metrics_field == field), None)
        found = feature_metric_fields(feature).get(metric_name) if feature else None
        if found is None:
            raise InvalidArgument(
                f"measures: no definition declares {metric[:80]!r}; write it like codeSuggestions.acceptanceRate."
            )
        if isinstance(found, Ratio):
            return Measure(MeasureKind.RATIO, of=(found.dividend, found.divisor), name=name)
        kind = MeasureKind.DISTINCT_COUNT if found.kind is MeasureKind.DISTINCT else found.kind
        return msgspec.structs.replace(found, kind=kind, name=name)


def _path(text: str) -> Any:
    try:
        return read_path(text)
    except ValueError as error:
        raise InvalidArgument(f"measures: {error}") from None


def _number(operator: str, operand: Any) -> int | float:
    if isinstance(operand, bool) or not isinstance(operand, int | float) or not math.isfinite(operand):
        raise InvalidArgument(f"having: {operator} takes a number.")
    return operand
