"""What is counted of events: measures, of all that are selected or of each group of them."""

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
    """What a measure is a measure of.

    The previous period of a group is as long as the group's own, right before it: of a day, week or month that is the
    one before, else it is as many days as are asked for.
    """

    EVENTS = "events"
    USERS = "users"
    FEATURES = "features"
    LAST_DAY = "last_day"  # of the latest event
    SUM = "sum"  # of the numbers at a path: of whole ones, or as doubles of those below MAX_ADDEND
    DISTINCT = "distinct"  # the values at a path, in order, at most MAX_DISTINCT of them
    PREVIOUS_USERS = "previous_users"  # those of the previous period
    RETURNING_USERS = "returning_users"  # those that the previous period has as well


class Measure(msgspec.Struct, frozen=True):
    """One number, or list of values, of a group of events.

    Attributes:
        event_ids: only of these events; None for all.
        path: into the payload, for SUM and DISTINCT.
        value_type: what is at the path; values of other types do not count.
    """

    kind: MeasureKind
    event_ids: tuple[int, ...] | None = None
    path: Path = ()
    value_type: type[str | int | float | bool] = int


MAX_DISTINCT = 1000
MAX_ADDEND = 1e300  # doubles like it, of one payload or a few, would make a total infinite
KEY_COLUMNS = 3  # of a path's value, see `scalar_from_key`
PREVIOUS = frozenset({MeasureKind.PREVIOUS_USERS, MeasureKind.RETURNING_USERS})


class Dimension(StrEnum):
    """What events are grouped by."""

    FEATURE = "feature"
    EVENT = "event"
    USER = "user"
    NAMESPACE = "namespace"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# From the shortest, and how long each is at most.
PERIODS = {Dimension.DAY: timedelta(days=1), Dimension.WEEK: timedelta(days=7), Dimension.MONTH: timedelta(days=31)}


class Order(msgspec.Struct, frozen=True):
    """What groups are put in order by.

    Attributes:
        by: a measure or a dimension of the aggregation.
    """

    by: Measure | Dimension
    descending: bool


class UserPosition(msgspec.Struct, frozen=True):
    """Where a user is among all: by a measure, and by id among those that are alike in it."""

    value: int
    user_id: int


class Aggregation(msgspec.Struct, frozen=True):
    """What is to be counted.

    Attributes:
        feature_of: the name of each event's feature.
        dimensions: what makes a group, the paths' values too; none of both for one group of everything.
        paths: into the payload.
        order: of the groups; those alike in it are in the order of their keys, descending if `ties_descend`.
        limit: how many groups at most.
        beyond: where groups are users, ordered by one measure as by their ids: only those after this one.
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
        """Whether there are groups, not just one of everything."""
        return bool(self.dimensions or self.paths)

    @property
    def looks_back(self) -> bool:
        """Whether the previous period is to be read too."""
        return any(measure.kind in PREVIOUS for measure in self.measures)

    @property
    def period(self) -> Dimension | None:
        """The shortest period that is a dimension."""
        return next((period for period in PERIODS if period in self.dimensions), None)

    @property
    def length(self) -> timedelta:
        """How long the selection is."""
        return self.selection.end - self.selection.start

    @property
    def read_from(self) -> datetime:
        """The first moment to be read."""
        if not self.looks_back:
            return self.selection.start
        previous = self.length if self.period is None else PERIODS[self.period]
        return max(self.selection.start - previous, midnight(FIRST_DAY))


def empty_rows(aggregation: Aggregation) -> list[tuple[Any, ...]]:
    """The rows where no event is selected."""
    if aggregation.is_grouped:
        return []
    nothing: dict[MeasureKind, Any] = {MeasureKind.LAST_DAY: None, MeasureKind.DISTINCT: []}
    return [tuple(nothing.get(measure.kind, 0) for measure in aggregation.measures)]


def answer_rows(aggregation: Aggregation, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """The rows of a store as they are answered: they have a column a dimension, three a path, then one a measure."""
    first_path = len(aggregation.dimensions)
    first_measure = first_path + KEY_COLUMNS * len(aggregation.paths)
    for row in rows:
        keys = [
            None if dimension is Dimension.NAMESPACE and not key else key
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
