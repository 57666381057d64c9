"""SQL expressions for the measures of an `Aggregation` in PostgreSQL.

The statement reads from `counted`: the users of each group, or, if a measure needs them, single events. Columns of
`counted` hold what a measure needs of these.
"""

from collections.abc import Iterator, Sequence, Set
from itertools import batched
from typing import Any, NamedTuple

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.payload_reader import PayloadReader
from functions.graphql.query.aggregation import PREVIOUS_PERIOD_KINDS, Aggregation, Dimension, Measure, MeasureKind
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


_FEATURE_BITS = sql.SQL(", ({bits}::bigint[])[events.event] AS {column}")
_ANY_FEATURE = sql.SQL("bit_or({column}){filter}")
_NUMBER_OF_FEATURES = sql.SQL("coalesce(bit_count(({bits})::bit(64)), 0)")
_BITS = 62  # features whose bits are in one column

_NUMBER_OF_EVENTS = sql.SQL("count(*){filter}")
_NUMBER_OF_USERS = sql.SQL("count(*) FILTER (WHERE {0})")
_SUM = sql.SQL("sum({value}){filter}")
_LEAST = sql.SQL("min({value}){filter}")
_GREATEST = sql.SQL("max({value}){filter}")
_COUNT_DISTINCT = sql.SQL("count(DISTINCT {value}){filter}")

_FORMS: dict[MeasureKind, _Form] = {
    MeasureKind.EVENTS: _Form(_NUMBER_OF_EVENTS, (_NUMBER_OF_EVENTS,), sql.SQL("coalesce(sum({0}), 0)::bigint")),
    MeasureKind.USERS: _Form(sql.SQL("count(DISTINCT user_id){filter}"), (sql.SQL("{any_counts}"),), _NUMBER_OF_USERS),
    MeasureKind.LAST_DAY: _Form(
        sql.SQL("(max(timestamp){filter})::date"),
        (sql.SQL("max(timestamp){filter}"),),
        sql.SQL("max({0})::date"),
    ),
    MeasureKind.SUM: _Form(sql.SQL("coalesce(sum({value}){filter}, 0)"), (_SUM,), sql.SQL("coalesce(sum({0}), 0)")),
    MeasureKind.DISTINCT: _Form(sql.SQL("NULL")),
    MeasureKind.PREVIOUS_USERS: _Form(
        sql.SQL("count(DISTINCT user_id) FILTER (WHERE {counts_before})"),
        (sql.SQL("bool_or({counts_before})"),),
        _NUMBER_OF_USERS,
    ),
    # Users of both periods = users of one + users of the other - users of either.
    MeasureKind.RETURNING_USERS: _Form(
        sql.SQL("""
            count(DISTINCT user_id){filter}
            + count(DISTINCT user_id) FILTER (WHERE {counts_before})
            - count(DISTINCT user_id) FILTER (WHERE {matches})
        """),
        (sql.SQL("bool_or({counts}) AND bool_or({counts_before})"),),
        _NUMBER_OF_USERS,
    ),
    MeasureKind.TOTAL: _Form(_SUM, (_SUM,), sql.SQL("sum({0})")),
    MeasureKind.AVERAGE: _Form(
        sql.SQL("""
            (sum({value}){filter} / count({value}){filter})::double precision
        """),
        (_SUM, sql.SQL("count({value}){filter}")),
        sql.SQL("(sum({0}) / nullif(sum({1}), 0))::double precision"),
    ),
    MeasureKind.LEAST: _Form(_LEAST, (_LEAST,), sql.SQL("min({0})")),
    MeasureKind.GREATEST: _Form(_GREATEST, (_GREATEST,), sql.SQL("max({0})")),
    MeasureKind.QUANTILE: _Form(sql.SQL("percentile_cont({level}) WITHIN GROUP (ORDER BY {value}){filter}")),
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
_OF_INDEX = frozenset({MeasureKind.EVENTS, MeasureKind.USERS})
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


def _sorts_users(aggregation: Aggregation, kinds: Set[MeasureKind]) -> bool:
    """Whether users are counted faster by sorting those of each group than by gathering the users of all groups.

    Groups by namespace are that many that their users would not fit in memory. An index is sorted by namespace.
    """
    selection = aggregation.selection
    of_index = not selection.conditions and selection.project_ids is None and kinds <= _OF_INDEX
    return of_index and aggregation.dimensions == (Dimension.NAMESPACE,) and not aggregation.paths


class MeasureSql:
    """The expressions of an aggregation's measures.

    Args:
        reader: reads the values at the measures' paths.
        values: the statement's bind parameters.
    """

    def __init__(self, aggregation: Aggregation, reader: PayloadReader, values: dict[str, Any]) -> None:
        self._aggregation = aggregation
        self._reader = reader
        self._values = values
        kinds = {part.kind for measure in aggregation.measures for part in measure.with_parts}
        self.by_user = (
            not kinds.isdisjoint(_OF_USERS)
            and kinds.isdisjoint(_OF_SINGLE_EVENTS)
            and not _sorts_users(aggregation, kinds)
        )
        """Whether `counted` has a row for each user of a group. Counting rows is faster than counting distinct ids."""
        self._user_columns: list[sql.Composable] = []
        self._event_columns: list[sql.Composable] = []
        self._feature_columns: list[sql.Composable] = []
        if MeasureKind.FEATURES in kinds:
            self._add_feature_bits()
        self.expressions = [
            self._expression(str(number), measure) for number, measure in enumerate(aggregation.measures)
        ]
        """The expression of each measure, of a group of `counted`."""

    @property
    def event_columns(self) -> sql.Composable:
        """The columns that events need, each after a comma."""
        return sql.Composed(self._event_columns)

    @property
    def user_columns(self) -> sql.Composable:
        """The columns that the users of a group need, each after a comma."""
        return sql.Composed(self._user_columns)

    def _expression(self, label: str, measure: Measure) -> sql.Composable:
        if measure.kind is MeasureKind.RATIO:
            dividend, divisor = (self._expression(f"{label}_{part}", of) for part, of in enumerate(measure.of))
            return _RATIO.format(dividend=dividend, divisor=divisor)
        parts = dict(self._parts(label, measure))
        if measure.kind is MeasureKind.FEATURES:
            return self._number_of_features(label, parts["filter"])
        form = _FORMS[measure.kind]
        if not self.by_user:
            return form.of_events.format(**parts)
        columns = self._add_user_columns(label, [of_user.format(**parts) for of_user in form.of_user])
        return form.of_users.format(*columns)

    def _add_feature_bits(self) -> None:
        """Adds columns of an event in which the bit of its feature is set."""
        feature_of = self._aggregation.feature_of
        names = sorted(set(feature_of.values()))
        for number, some in enumerate(batched(names, _BITS, strict=False)):
            bit_of = {name: 1 << place for place, name in enumerate(some)}
            bits = [bit_of.get(feature_of.get(event, ""), 0) for event in range(1, max(feature_of) + 1)]
            column = sql.Identifier(f"feature_bits_{number}")
            bound = sql.Placeholder(add_value(self._values, bits))
            self._feature_columns.append(column)
            self._event_columns.append(_FEATURE_BITS.format(bits=bound, column=column))

    def _number_of_features(self, label: str, filtered: sql.Composable) -> sql.Composable:
        bits = [_ANY_FEATURE.format(column=column, filter=filtered) for column in self._feature_columns]
        if self.by_user:
            of_users = self._add_user_columns(label, bits)
            bits = [_ANY_FEATURE.format(column=column, filter=sql.SQL("")) for column in of_users]
        counts = [_NUMBER_OF_FEATURES.format(bits=any_of_group) for any_of_group in bits]
        return sql.SQL("({})").format(sql.SQL(" + ").join(counts))

    def _add_user_columns(self, label: str, of_user: Sequence[sql.Composable]) -> list[sql.Identifier]:
        """Adds what the events of one user add up to, and returns the names of these columns."""
        columns = [sql.Identifier(f"part_{label}_{number}") for number in range(len(of_user))]
        self._user_columns += [sql.SQL(", {} AS {}").format(*each) for each in zip(of_user, columns, strict=True)]
        return columns

    def _parts(self, label: str, measure: Measure) -> Iterator[tuple[str, sql.Composable]]:
        matches: list[sql.Composable] = []
        if measure.event_ids is not None:
            event_ids = sql.Placeholder(add_value(self._values, list(measure.event_ids)))
            matches.append(sql.SQL("event = ANY({}::smallint[])").format(event_ids))
        if measure.conditions:
            # Payloads are looked at only of the events that the measure is about.
            passed = [payload_sql.condition(condition, self._values) for condition in measure.conditions]
            passes = sql.Identifier(f"passes_{label}")
            self._event_columns.append(sql.SQL(", {} AS {}").format(sql.SQL(" AND ").join([*matches, *passed]), passes))
            matches = [passes]
        counted = [_IS_CURRENT, *matches] if self._aggregation.looks_back else matches
        counts = sql.SQL(" AND ").join(counted)
        yield "matches", sql.SQL(" AND ").join(matches or [_TRUE])
        yield "counts", counts if counted else _TRUE
        yield "any_counts", sql.SQL("bool_or({})").format(counts) if counted else _TRUE
        yield "filter", sql.SQL(" FILTER (WHERE {})").format(counts) if counted else sql.SQL("")
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
