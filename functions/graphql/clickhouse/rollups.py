"""Answers an `Aggregation` from the rollups of days; events are read of those days only that have none that counts."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from clickhouse_connect.driver.binding import quote_identifier

from functions.graphql.clickhouse.aggregation import Rows
from functions.graphql.clickhouse.where import columns_condition, scope_condition, where_condition
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.days import midnight
from functions.graphql.query.selection import Selection
from functions.shared.payload_value import DeclaredPaths
from functions.shared.rollup import FORMAT, TOTALS, USERS, WHOLE, RollupMeasure
from functions.shared.rollup_days import Rollup

_DAY = timedelta(days=1)

# Days between which there are more gaps than this are listed one by one.
_MAX_GAPS = 10

_MEASURE_KINDS = {MeasureKind.SUM: "sum", MeasureKind.DISTINCT: "distinct"}

_DIMENSIONS_OF_TOTALS = frozenset({Dimension.FEATURE, Dimension.EVENT, Dimension.DAY, Dimension.WEEK, Dimension.MONTH})

_ROWS = "(SELECT toDateTime64(day, 6, 'UTC') AS timestamp, {columns} FROM ({rows}))"

# A scalar subquery is evaluated even if there are no rows to filter.
_ROLLUPS = """
    SELECT day, {columns}
    FROM {table}
    WHERE build IN {{builds:Array(UInt64)}}
      AND {conditions}
      AND (
          SELECT throwIf(uniqExact(build) < {{count_of_builds:UInt64}}, 'A rollup lacks rows')
          FROM {table}
          WHERE {whole} AND build IN {{builds:Array(UInt64)}}
      ) = 0
"""

_EVENTS = """
    SELECT toDate32(timestamp) AS day, {columns}
    FROM ai_usage_events FINAL
    WHERE {conditions} AND {days}
    GROUP BY {keys}
"""


class RollupReader(Protocol):
    """Reads which rollups count."""

    def counting(self, first: date, end: date, measures: Sequence[str]) -> tuple[Rollup, ...]:
        """The rollups that count and hold the measures, of the days from `first` until before `end`, in their order."""


class _Grain(NamedTuple):
    """A table of rollups.

    Attributes:
        whole: the condition of the rows that show that builds have all their rows.
        keys: columns beside `timestamp`.
        counts: columns beside the keys, each with the expression that computes it from events.
        users: expression for the number of users of the rows that fulfil a condition.
        condition: returns the condition of a selection's rows.
    """

    table: str
    whole: str
    keys: tuple[str, ...]
    counts: dict[str, str]
    users: str
    condition: Callable[[Selection, dict[str, Any]], str]


_TOTALS = _Grain(
    TOTALS,
    whole=f"project_id = 0 AND scope = '{WHOLE}'",
    keys=("event",),
    counts={"events": "count()", "users": "groupBitmapState(user_id)"},
    users="groupBitmapMergeIf(users, {counts})",
    condition=scope_condition,
)
_USERS = _Grain(
    USERS,
    whole=f"namespace_path = '{WHOLE}'",
    keys=("event", "user_id", "namespace_path", "project_id"),
    counts={"events": "count()"},
    users="uniqExactIf(user_id, {counts})",
    condition=columns_condition,
)


def can_use_rollups(aggregation: Aggregation) -> bool:
    """Whether rollups have what the aggregation selects by and groups by."""
    selection = aggregation.selection
    bounds = [selection.start, selection.end]
    if aggregation.looks_back:
        bounds += [aggregation.previous_start, aggregation.previous_end]
    of_days = not any(measure.needs_events for measure in aggregation.measures)
    return of_days and not (selection.conditions or aggregation.paths) and all(map(_is_midnight, bounds))


def days_of(aggregation: Aggregation) -> tuple[date, date]:
    """The first day whose events the aggregation may need, and the day after the last one."""
    selection = aggregation.selection
    first = aggregation.previous_start if aggregation.looks_back else selection.start
    return min(first, selection.start).date(), selection.end.date()


def needed_measures(aggregation: Aggregation) -> list[str]:
    """The names of what rollups must hold."""
    return [FORMAT, *_columns_of(aggregation)]


def rollup_rows(
    aggregation: Aggregation, rollups: Sequence[Rollup], values: dict[str, Any], declared: DeclaredPaths
) -> Rows:
    """The rows of the rollups, with groups of events of all other days; adds their bind parameters to `values`.

    Args:
        rollups: rollups that count, in the order of their days, at least one.
        declared: payload paths that have a column of their own.
    """
    selection, grain = aggregation.selection, _grain_of(aggregation)
    measures = _columns_of(aggregation)
    columns = [*grain.keys, *grain.counts, *(f"value_{number}" for number in range(len(measures)))]
    stored = [*grain.keys, *grain.counts, *(f"{quote_identifier(name)}" for name in measures)]
    computed = [*grain.keys, *grain.counts.values(), *(measure.of_events(declared) for measure in measures.values())]
    values |= {"builds": [rollup.build for rollup in rollups], "count_of_builds": len(rollups)}
    rows = _ROLLUPS.format(
        table=grain.table,
        whole=grain.whole,
        columns=_named(stored, columns),
        conditions=grain.condition(selection, values),
    )
    days = [rollup.day for rollup in rollups]
    if gaps := list(_gaps(*days_of(aggregation), days)):
        rows += "UNION ALL" + _EVENTS.format(
            columns=_named(computed, columns),
            conditions=where_condition(selection, values, declared),
            days=_within(gaps, days, values),
            keys=", ".join(["day", *grain.keys]),
        )
    source = _ROWS.format(columns=", ".join(columns), rows=rows)
    column_of = dict(zip(measures, columns[-len(measures) :], strict=True)) if measures else {}
    return Rows(source, "true", _events, _counter(grain.users), _measured(column_of))


def _grain_of(aggregation: Aggregation) -> _Grain:
    """The smallest table that has what the aggregation selects by and groups by."""
    has_totals = aggregation.selection.user_ids is None and _DIMENSIONS_OF_TOTALS.issuperset(aggregation.dimensions)
    return _TOTALS if has_totals else _USERS


def _named(expressions: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(
        name if expression == name else f"{expression} AS {name}"
        for expression, name in zip(expressions, names, strict=True)
    )


def _columns_of(aggregation: Aggregation) -> dict[str, RollupMeasure]:
    measures = [
        RollupMeasure(_MEASURE_KINDS[measure.kind], tuple(map(str, measure.path)), measure.value_type)
        for whole in aggregation.measures
        for measure in whole.with_parts
        if measure.kind in _MEASURE_KINDS
    ]
    return {measure.column: measure for measure in measures}


def _events(counts: str) -> str:
    return f"sumIf(events, {counts})"


def _counter(users: str) -> Callable[[str], str]:
    return lambda counts: users.format(counts=counts)


def _measured(column_of: dict[str, str]) -> Callable[[Measure, str], str]:
    def measured(measure: Measure, counts: str) -> str:
        name = RollupMeasure(_MEASURE_KINDS[measure.kind], tuple(map(str, measure.path)), measure.value_type).column
        function = "sumIf" if measure.kind is MeasureKind.SUM else "groupUniqArrayArrayIf"
        return f"{function}({column_of[name]}, {counts})"

    return measured


def _gaps(first: date, end: date, days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Yields the periods between the days, each as its first day and the day after its last one."""
    for day in days:
        if first < day:
            yield first, day
        first = day + _DAY
    if first < end:
        yield first, end


def _within(gaps: Sequence[tuple[date, date]], days: Sequence[date], values: dict[str, Any]) -> str:
    """The condition that an event is of none of the days, by periods if there are few."""
    if len(gaps) > _MAX_GAPS:
        values["rollup_days"] = list(days)
        return "toDate32(timestamp) NOT IN {rollup_days:Array(Date32)}"
    conditions = []
    for number, (first, end) in enumerate(gaps):
        values |= {f"gap_start_{number}": midnight(first), f"gap_end_{number}": midnight(end)}
        conditions.append(
            f"(timestamp >= {{gap_start_{number}:DateTime64(6, 'UTC')}}"
            f" AND timestamp < {{gap_end_{number}:DateTime64(6, 'UTC')}})"
        )
    return f"({' OR '.join(conditions)})"


def _is_midnight(moment: datetime) -> bool:
    return moment == midnight(moment.date())
