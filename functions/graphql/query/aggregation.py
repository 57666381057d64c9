"""`Aggregation`: measures of the selected events, in total or for each group."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import Any

import msgspec

from functions.graphql.query.days import FIRST_DAY, midnight
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import scalar_from_key
from functions.graphql.query.selection import Selection


class MeasureKind(StrEnum):
    """What a measure computes.

    The previous period of a group is the day, week or month before the group's own. Of groups without these it is the
    period of the selection's length that ends where the selection begins.
    """

    EVENTS = "events"
    USERS = "users"
    FEATURES = "features"
    LAST_DAY = "last_day"  # day of the latest event
    SUM = "sum"  # sum of the numbers at a path: of integers, or of doubles below MAX_ADDEND
    DISTINCT = "distinct"  # distinct values at a path, sorted, at most MAX_DISTINCT
    PREVIOUS_USERS = "previous_users"  # users of the previous period
    RETURNING_USERS = "returning_users"  # users of both the own and the previous period


class Measure(msgspec.Struct, frozen=True):
    """One number, or list of values, of a group of events.

    Attributes:
        event_ids: event types to measure; None for all.
        path: payload path of SUM and DISTINCT.
        value_type: type of the values to measure at the path; other values are left out.
    """

    kind: MeasureKind
    event_ids: tuple[int, ...] | None = None
    path: Path = ()
    value_type: type[str | int | float | bool] = int


MAX_DISTINCT = 1000
MAX_ADDEND = 1e300  # one payload, or a few, with larger doubles would make a sum infinite
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


# Dimensions that some events have no value of. The stores group these events under an empty key.
_OPTIONAL_DIMENSIONS = frozenset({Dimension.NAMESPACE, Dimension.PROJECT})

# Longest duration of each period, shortest period first.
PERIODS = {Dimension.DAY: timedelta(days=1), Dimension.WEEK: timedelta(days=7), Dimension.MONTH: timedelta(days=31)}


class Order(msgspec.Struct, frozen=True):
    """One sort key of the groups.

    Attributes:
        by: one of the aggregation's measures or dimensions.
    """

    by: Measure | Dimension
    descending: bool


class UserPosition(msgspec.Struct, frozen=True):
    """Position of a user in a list that is sorted by a measure, then by user id."""

    value: int
    user_id: int


class Aggregation(msgspec.Struct, frozen=True):
    """Which events to group, by what, and what to measure of each group.

    Attributes:
        feature_of: each event id's feature name.
        dimensions: dimensions to group by, besides the values at `paths`; without either, all events are one group.
        paths: payload paths to group by.
        order: sort keys of the groups; ties are sorted by the groups' keys, descending if `ties_descend`.
        limit: maximum number of groups.
        beyond: answers only the users after this one; requires USER as the dimension and one measure in `order`.
    """

    selection: Selection
    feature_of: Mapping[int, str]
    measures: tuple[Measure, ...]
    dimensions: tuple[Dimension, ...] = ()
    paths: tuple[Path, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int = 1
    beyond: UserPosition | None = None
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
    def length(self) -> timedelta:
        """Duration of the selection."""
        return self.selection.end - self.selection.start

    @property
    def read_from(self) -> datetime:
        """Start of the events to read, the previous period included."""
        if not self.looks_back:
            return self.selection.start
        previous = self.length if self.period is None else PERIODS[self.period]
        return max(self.selection.start - previous, midnight(FIRST_DAY))


def empty_rows(aggregation: Aggregation) -> list[tuple[Any, ...]]:
    """The answer if no event is selected: no group, or one group of zeros."""
    if aggregation.is_grouped:
        return []
    nothing: dict[MeasureKind, Any] = {MeasureKind.LAST_DAY: None, MeasureKind.DISTINCT: []}
    return [tuple(nothing.get(measure.kind, 0) for measure in aggregation.measures)]


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
