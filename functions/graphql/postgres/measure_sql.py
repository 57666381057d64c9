"""SQL expressions for the measures of an `Aggregation` in PostgreSQL.

The statement reads from `counted`: the users of each group, or, if a measure needs them, single events. Columns of
`counted` hold what a measure needs of these.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.payload_reader import PayloadReader
from functions.graphql.query.aggregation import PREVIOUS_PERIOD_KINDS, Measure, MeasureKind
from functions.graphql.query.bind import add_value
from functions.graphql.query.scalar import ScalarKind
from functions.shared.catalog.metric import MAX_ADDEND, MAX_MEASURED, MEASURED_DECIMALS


class _Form(NamedTuple):
    """How a measure is computed.

    Attributes:
        of_events: the measure of the events of a group.
        of_user: what the events of one user add up to, in columns.
        of_users: the measure of these columns of all users.
    """

    of_events: sql.SQL
    of_user: tuple[sql.SQL, ...] = ()
    of_users: sql.SQL = sql.SQL("NULL")


_NUMBER_OF_EVENTS = sql.SQL("count(*) FILTER (WHERE {counts})")
_NUMBER_OF_USERS = sql.SQL("count(*) FILTER (WHERE {0})")
_SUM = sql.SQL("sum({value}) FILTER (WHERE {counts})")
_LEAST = sql.SQL("min({value}) FILTER (WHERE {counts})")
_GREATEST = sql.SQL("max({value}) FILTER (WHERE {counts})")
_COUNT_DISTINCT = sql.SQL("count(DISTINCT {value}) FILTER (WHERE {counts})")

_FORMS: dict[MeasureKind, _Form] = {
    MeasureKind.EVENTS: _Form(_NUMBER_OF_EVENTS, (_NUMBER_OF_EVENTS,), sql.SQL("coalesce(sum({0}), 0)::bigint")),
    MeasureKind.USERS: _Form(
        sql.SQL("count(DISTINCT user_id) FILTER (WHERE {counts})"), (sql.SQL("bool_or({counts})"),), _NUMBER_OF_USERS
    ),
    MeasureKind.FEATURES: _Form(
        sql.SQL("coalesce(bit_count(bit_or(feature_bit) FILTER (WHERE {counts})), 0)"),
        (sql.SQL("bit_or(feature_bit) FILTER (WHERE {counts})"),),
        sql.SQL("coalesce(bit_count(bit_or({0})), 0)"),
    ),
    MeasureKind.LAST_DAY: _Form(
        sql.SQL("(max(timestamp) FILTER (WHERE {counts}))::date"),
        (sql.SQL("max(timestamp) FILTER (WHERE {counts})"),),
        sql.SQL("max({0})::date"),
    ),
    MeasureKind.SUM: _Form(
        sql.SQL("coalesce(sum({value}) FILTER (WHERE {counts}), 0)"), (_SUM,), sql.SQL("coalesce(sum({0}), 0)")
    ),
    MeasureKind.DISTINCT: _Form(sql.SQL("NULL")),
    MeasureKind.PREVIOUS_USERS: _Form(
        sql.SQL("count(DISTINCT user_id) FILTER (WHERE {counts_before})"),
        (sql.SQL("bool_or({counts_before})"),),
        _NUMBER_OF_USERS,
    ),
    # Users of both periods = users of one + users of the other - users of either.
    MeasureKind.RETURNING_USERS: _Form(
        sql.SQL("""
            count(DISTINCT user_id) FILTER (WHERE {counts})
            + count(DISTINCT user_id) FILTER (WHERE {counts_before})
            - count(DISTINCT user_id) FILTER (WHERE {matches})
        """),
        (sql.SQL("bool_or({counts}) AND bool_or({counts_before})"),),
        _NUMBER_OF_USERS,
    ),
    MeasureKind.TOTAL: _Form(_SUM, (_SUM,), sql.SQL("sum({0})")),
    MeasureKind.AVERAGE: _Form(
        sql.SQL("""
            (sum({value}) FILTER (WHERE {counts}) / count({value}) FILTER (WHERE {counts}))::double precision
        """),
        (_SUM, sql.SQL("count({value}) FILTER (WHERE {counts})")),
        sql.SQL("(sum({0}) / nullif(sum({1}), 0))::double precision"),
    ),
    MeasureKind.LEAST: _Form(_LEAST, (_LEAST,), sql.SQL("min({0})")),
    MeasureKind.GREATEST: _Form(_GREATEST, (_GREATEST,), sql.SQL("max({0})")),
    MeasureKind.QUANTILE: _Form(
        sql.SQL("percentile_cont({level}) WITHIN GROUP (ORDER BY {value}) FILTER (WHERE {counts})")
    ),
    MeasureKind.DISTINCT_COUNT: _Form(_COUNT_DISTINCT),
    MeasureKind.SCALAR_COUNT: _Form(_COUNT_DISTINCT),
}
# A quotient beyond a double's range would be an error, and so would one too small for a double.
_RATIO = sql.SQL("""
    (CASE WHEN {divisor} = 0 THEN NULL
          WHEN abs({divisor}) < 1 AND abs({dividend}) > 1.7e308 * abs({divisor}) THEN NULL
          WHEN abs({divisor}) > 1 AND abs({dividend}) < 1e-300 THEN 0
          ELSE {dividend}::double precision / {divisor}::double precision END)
""")

_OF_SINGLE_EVENTS = frozenset({MeasureKind.QUANTILE, MeasureKind.DISTINCT_COUNT, MeasureKind.SCALAR_COUNT})
_OF_USERS = PREVIOUS_PERIOD_KINDS | {MeasureKind.USERS}
_WITHOUT_VALUE = _OF_USERS | {
    MeasureKind.EVENTS,
    MeasureKind.FEATURES,
    MeasureKind.LAST_DAY,
    MeasureKind.DISTINCT,
    MeasureKind.RATIO,
}
_TRUE = sql.SQL("true")
_IS_CURRENT = sql.SQL("is_current")
_IS_BEFORE = sql.SQL("NOT is_current")

_ADDEND = sql.SQL("CASE WHEN abs({value}) < {limit} THEN {value} END")
_EXACT = sql.SQL("CASE WHEN abs({value}) < {limit} THEN trunc({value}, {places}) END")
_DOUBLE = sql.SQL("CASE WHEN abs({value}) < {limit} THEN {value}::double precision END")
_SCALAR = sql.SQL("CASE WHEN {kind} <> {nothing} THEN ROW({kind}, {number}, {text}) END")


def needs_features(measures: Sequence[Measure]) -> bool:
    """Whether events must have their feature's bit."""
    return any(part.kind is MeasureKind.FEATURES for measure in measures for part in measure.with_parts)


class MeasureSql:
    """The expressions of an aggregation's measures.

    Args:
        reader: reads the values at the measures' paths.
        values: the statement's bind parameters.
    """

    def __init__(self, measures: Sequence[Measure], reader: PayloadReader, values: dict[str, Any]) -> None:
        self._measures = measures
        self._reader = reader
        self._values = values
        kinds = {part.kind for measure in measures for part in measure.with_parts}
        self.by_user = not kinds.isdisjoint(_OF_USERS) and kinds.isdisjoint(_OF_SINGLE_EVENTS)
        """Whether `counted` has a row for each user of a group. Counting rows is faster than counting distinct ids."""
        self._user_columns: list[sql.Composable] = []
        self._conditions: list[sql.Composable] = []
        self.expressions = [self._expression(str(number), measure) for number, measure in enumerate(measures)]
        """The expression of each measure, of a group of `counted`."""

    @property
    def event_columns(self) -> sql.Composable:
        """The columns that events need, each after a comma."""
        return sql.Composed(self._conditions)

    @property
    def user_columns(self) -> sql.Composable:
        """The columns that the users of a group need, each after a comma."""
        return sql.Composed(self._user_columns)

    def _expression(self, label: str, measure: Measure) -> sql.Composable:
        if measure.kind is MeasureKind.RATIO:
            dividend, divisor = (self._expression(f"{label}_{part}", of) for part, of in enumerate(measure.of))
            return _RATIO.format(dividend=dividend, divisor=divisor)
        form = _FORMS[measure.kind]
        parts = dict(self._parts(label, measure))
        if not self.by_user:
            return form.of_events.format(**parts)
        columns = []
        for number, of_user in enumerate(form.of_user):
            columns.append(sql.Identifier(f"part_{label}_{number}"))
            self._user_columns.append(sql.SQL(", {} AS {}").format(of_user.format(**parts), columns[-1]))
        return form.of_users.format(*columns)

    def _parts(self, label: str, measure: Measure) -> Iterator[tuple[str, sql.Composable]]:
        matches: list[sql.Composable] = []
        if measure.event_ids is not None:
            event_ids = sql.Placeholder(add_value(self._values, list(measure.event_ids)))
            matches.append(sql.SQL("event = ANY({}::smallint[])").format(event_ids))
        if measure.conditions:
            passes = sql.Identifier(f"passes_{label}")
            passed = [payload_sql.condition(condition, self._values) for condition in measure.conditions]
            self._conditions.append(sql.SQL(", {} AS {}").format(sql.SQL(" AND ").join(passed), passes))
            matches.append(passes)
        yield "matches", sql.SQL(" AND ").join(matches or [_TRUE])
        yield "counts", sql.SQL(" AND ").join([_IS_CURRENT, *matches])
        yield "counts_before", sql.SQL(" AND ").join([_IS_BEFORE, *matches])
        yield "level", sql.Literal(measure.level)
        yield "value", sql.SQL("NULL") if measure.kind in _WITHOUT_VALUE else self._value(measure)

    def _value(self, measure: Measure) -> sql.Composable:
        """What a measure needs of an event's payload."""
        reader, path = self._reader, measure.path
        match measure.kind:
            case MeasureKind.SCALAR_COUNT:
                kind, number, text = reader.scalar_key(path)
                return _SCALAR.format(kind=kind, number=number, text=text, nothing=ScalarKind.NOTHING)
            case MeasureKind.DISTINCT_COUNT:
                return reader.typed(path, measure.value_type)
            case MeasureKind.SUM:
                value = reader.typed(path, measure.value_type)
                return (
                    value if measure.value_type is int else _ADDEND.format(value=value, limit=sql.Literal(MAX_ADDEND))
                )
            case MeasureKind.QUANTILE:
                value = reader.typed(path, measure.value_type)
                return _DOUBLE.format(value=value, limit=sql.Literal(MAX_MEASURED))
        number = reader.typed(path, int) if measure.value_type is int else reader.numeric(path)
        return _EXACT.format(value=number, limit=sql.Literal(MAX_MEASURED), places=sql.Literal(MEASURED_DECIMALS))
