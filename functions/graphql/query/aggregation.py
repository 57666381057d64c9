"""`Aggregation`: measures of the selected events, in total or for each group."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import Any

import msgspec

from functions.graphql.query.conditions import Condition
from functions.graphql.query.days import FIRST_DAY, midnight
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import scalar_from_key
from functions.graphql.query.selection import Selection
from functions.shared.catalog.metric import MAX_DISTINCT


class MeasureKind(StrEnum):
    """What a measure computes.

    The previous period of a group is all of the day, week or month before the group's own, also where the selection
    begins or ends within one of them. Of groups without these it is the period of the selection's length that ends
    where the selection begins.
    """

    EVENTS = "events"
    USERS = "users"
    FEATURES = "features"
    LAST_DAY = "last_day"  # day of the latest event
    SUM = "sum"  # sum of the numbers at a path: of integers, or of doubles below MAX_ADDEND
    DISTINCT = "distinct"  # distinct values at a path, sorted, at most MAX_DISTINCT
    PREVIOUS_USERS = "previous_users"  # users of the previous period
    RETURNING_USERS = "returning_users"  # users of both the own and the previous period
    TOTAL = "total"  # exact sum of the numbers at a path; None without any, as the four below
    AVERAGE = "average"  # their average
    LEAST = "least"  # the least
    GREATEST = "greatest"  # the greatest
    QUANTILE = "quantile"  # their quantile, interpolated
    DISTINCT_COUNT = "distinct_count"  # number of distinct values at a path
    SCALAR_COUNT = "scalar_count"  # number of distinct strings, numbers and booleans at a path
    RATIO = "ratio"  # a measure divided by another; None if the other is 0


class Measure(msgspec.Struct, frozen=True):
    """One number, or list of values, of a group of events.

    Attributes:
        event_ids: event types to measure; None for all.
        path: payload path of what is not a number of events, users or features, or a ratio.
        value_type: type of the values to measure at the path; other values are left out. Whole numbers are floats too.
        level: level of QUANTILE, from 0 to 1.
        conditions: conditions on the payloads of the events to measure.
        of: dividend and divisor of RATIO.
        name: tells apart two measures of one aggregation that compare as equal, like those of 1 and of true.
    """

    kind: MeasureKind
    event_ids: tuple[int, ...] | None = None
    path: Path = ()
    value_type: type[str | int | float | bool] = int
    level: float = 0.0
    conditions: tuple[Condition, ...] = ()
    of: tuple["Measure", ...] = ()
    name: str = ""

    @property
    def with_parts(self) -> Iterator["Measure"]:
        """The measure, and dividend and divisor of a ratio."""
        yield self
        for part in self.of:
            yield from part.with_parts

    @property
    def is_double(self) -> bool:
        """Whether the value is a double, and not an exact number."""
        is_sum = self.kind is MeasureKind.SUM and self.value_type is float
        return is_sum or self.kind in (MeasureKind.AVERAGE, MeasureKind.QUANTILE, MeasureKind.RATIO)

    @property
    def needs_events(self) -> bool:
        """Whether only single events tell the value, and not what groups of events add up to."""
        return any(part.kind in _OF_SINGLE_EVENTS or bool(part.conditions) for part in self.with_parts)


NUMBER_KINDS = frozenset(
    {MeasureKind.TOTAL, MeasureKind.AVERAGE, MeasureKind.LEAST, MeasureKind.GREATEST, MeasureKind.QUANTILE}
)
"""Measures of the numbers at a path: decimals of `MEASURED_DECIMALS` places, smaller than `MAX_MEASURED`."""

_OF_SINGLE_EVENTS = NUMBER_KINDS | {MeasureKind.DISTINCT_COUNT, MeasureKind.SCALAR_COUNT}


KEY_COLUMNS = 3  # columns of one path's value, see `scalar_from_key`
PREVIOUS_PERIOD_KINDS = frozenset({MeasureKind.PREVIOUS_USERS, MeasureKind.RETURNING_USERS})


class Dimension(StrEnum):
    """What events are grouped by."""

    FEATURE = "feature"
    EVENT = "event"
    USER = "user"
    NAMESPACE = "namespace"
    PROJECT = "project"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


PERIODS = (Dimension.DAY, Dimension.WEEK, Dimension.MONTH)
"""The periods of the calendar, shortest first."""

# Dimensions that some events have no value of. The stores group these events under an empty key.
_OPTIONAL_DIMENSIONS = frozenset({Dimension.NAMESPACE, Dimension.PROJECT})


class Order(msgspec.Struct, frozen=True):
    """One sort key of the groups.

    Attributes:
        by: one of the aggregation's measures or dimensions.
    """

    by: Measure | Dimension
    descending: bool


class Having(msgspec.Struct, frozen=True):
    """A condition on a measure of a group. A missing value fulfils none.

    Attributes:
        comparison: an operator of SQL: `=`, `<>`, `<`, `<=`, `>` or `>=`.
    """

    measure: Measure
    comparison: str
    operand: int | float


class HasValue(msgspec.Struct, frozen=True):
    """The measure of a group has a value, or has none."""

    measure: Measure
    exists: bool


class GroupPosition(msgspec.Struct, frozen=True):
    """Position of a group among those of an aggregation.

    Attributes:
        ordered: values of the aggregation's sort keys.
        keys: sort keys of the group that its own keys make: one a dimension; for each path the kind and number of
            its value, and the two of its `cut` text.
    """

    ordered: tuple[Any, ...]
    keys: tuple[Any, ...]


class UserPosition(msgspec.Struct, frozen=True):
    """Position of a user in a list that is sorted by a measure, then by user id."""

    value: int
    user_id: int

    @property
    def among_groups(self) -> GroupPosition:
        """The position in an aggregation by users."""
        return GroupPosition((self.value,), (self.user_id,))


class Aggregation(msgspec.Struct, frozen=True):
    """Which events to group, by what, and what to measure of each group.

    Attributes:
        feature_of: each event id's feature name.
        dimensions: dimensions to group by, besides the values at `paths`; without either, all events are one group.
        paths: payload paths to group by.
        order: sort keys of the groups, missing values last; ties are sorted by the groups' keys, descending if
            `ties_descend`.
        limit: maximum number of groups.
        having: conditions on the groups; measures in it must be among the aggregation's.
        beyond: answers only the groups after this one.
    """

    selection: Selection
    feature_of: Mapping[int, str]
    measures: tuple[Measure, ...]
    dimensions: tuple[Dimension, ...] = ()
    paths: tuple[Path, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int = 1
    having: tuple[Having | HasValue, ...] = ()
    beyond: GroupPosition | None = None
    ties_descend: bool = False

    @property
    def is_grouped(self) -> bool:
        """Whether there are several groups, not one of all events."""
        return bool(self.dimensions or self.paths)

    @property
    def looks_back(self) -> bool:
        """Whether a measure needs the previous period."""
        return any(measure.kind in PREVIOUS_PERIOD_KINDS for measure in self.measures)

    @property
    def period(self) -> Dimension | None:
        """The shortest of the dimensions DAY, WEEK and MONTH."""
        return next((period for period in PERIODS if period in self.dimensions), None)

    @property
    def splits_weeks(self) -> bool:
        """Whether a week that is in two months makes two groups. Both have the same previous period."""
        return self.period is Dimension.WEEK and Dimension.MONTH in self.dimensions

    @property
    def previous_start(self) -> datetime:
        """Start of the previous period of the first group."""
        start = self.selection.start
        previous = start - (self.selection.end - start)
        if self.period is not None:
            previous = _period_start(self.period, _period_start(self.period, start) - _INSTANT)
        return max(previous, midnight(FIRST_DAY))

    @property
    def previous_end(self) -> datetime:
        """End of the previous period of the last group."""
        if self.period is None:
            return self.selection.start
        return _period_start(self.period, self.selection.end - _INSTANT)


_INSTANT = timedelta(microseconds=1)


def _period_start(period: Dimension, moment: datetime) -> datetime:
    """Start of the day, week or month that the moment is in."""
    day = moment.date()
    if period is Dimension.WEEK:
        day -= timedelta(days=day.weekday())
    return midnight(day.replace(day=1) if period is Dimension.MONTH else day)


def empty_rows(aggregation: Aggregation) -> list[tuple[Any, ...]]:
    """The answer if no event is selected: no group, or one group of zeros if these are not left out."""
    if aggregation.is_grouped or aggregation.beyond is not None:
        return []
    nothing: dict[MeasureKind, Any] = dict.fromkeys((MeasureKind.LAST_DAY, MeasureKind.RATIO, *NUMBER_KINDS))
    nothing[MeasureKind.DISTINCT] = []
    values = [nothing.get(measure.kind, 0) for measure in aggregation.measures]
    measured = dict(zip(aggregation.measures, values, strict=True))
    return [tuple(values)] if all(_has(measured[each.measure], each) for each in aggregation.having) else []


def _has(value: Any, having: Having | HasValue) -> bool:
    if isinstance(having, HasValue):
        return (value is not None) == having.exists
    return value is not None and _COMPARISONS[having.comparison](value, having.operand)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def answer_rows(aggregation: Aggregation, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Converts a store's rows to the answer of `EventStore.aggregate`.

    A store's row has one column a dimension, `KEY_COLUMNS` columns a path, then one column a measure.
    """
    first_path = len(aggregation.dimensions)
    first_measure = first_path + KEY_COLUMNS * len(aggregation.paths)
    for row in rows:
        keys = [
            None if dimension in _OPTIONAL_DIMENSIONS and not key else key
            for dimension, key in zip(aggregation.dimensions, row, strict=False)
        ]
        paths = [
            scalar_from_key(*columns) for columns in batched(row[first_path:first_measure], KEY_COLUMNS, strict=True)
        ]
        measured = zip(aggregation.measures, row[first_measure:], strict=True)
        yield (*keys, *paths, *(_answer_measure(measure, value) for measure, value in measured))


def _answer_measure(measure: Measure, value: Any) -> Any:
    if measure.kind is MeasureKind.SUM:
        return measure.value_type(value)
    if measure.kind is MeasureKind.DISTINCT:
        values: list[Any] = [measure.value_type(each) for each in value or ()]
        return sorted(values)[:MAX_DISTINCT]
    return value
