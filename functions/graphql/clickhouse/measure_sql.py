"""SQL expressions for the measures of events in ClickHouse. Each function adds its bind parameters to `values`."""

from collections.abc import Sequence
from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.query.aggregation import Measure, MeasureKind
from functions.graphql.query.scalar import ScalarKind
from functions.shared.catalog.metric import MAX_ADDEND, MAX_MEASURED
from functions.shared.payload_value import DeclaredPaths

_VALUES = {
    str: payload_sql.text,
    int: payload_sql.integer,
    float: payload_sql.number,
    bool: payload_sql.boolean,
}

_ADDED = "if(abs({number}) < {{max_addend:Float64}}, {number}, NULL)"
_MEASURED = "if(abs({number}) < {limit}, {number}, NULL)"
# A double made from the text of a decimal is the nearest one.
_AVERAGE = "toFloat64(toString(sumOrNullIf({value}, {counts}) / nullIf(countIf(isNotNull({value}) AND {counts}), 0)))"


def of_events(measure: Measure, counts: str, values: dict[str, Any], declared: DeclaredPaths) -> str:
    """The expression of a measure at a path, of the events that fulfil the condition `counts`.

    Args:
        declared: payload paths that have a column of their own.
    """
    path, whole = measure.path, measure.value_type is int
    match measure.kind:
        case MeasureKind.DISTINCT:
            value = _VALUES[measure.value_type](path, values, declared)
            return f"groupUniqArrayIf({value}, {counts})"
        case MeasureKind.DISTINCT_COUNT:
            value = _VALUES[measure.value_type](path, values, declared)
            return f"uniqExactIf({value}{' + 0.0' if measure.value_type is float else ''}, {counts})"  # no -0.0
        case MeasureKind.SCALAR_COUNT:
            kind, number, text = payload_sql.scalar_key(path, values, declared)
            return f"uniqExactIf(({kind}, {number}, {text}), {counts} AND {kind} <> {ScalarKind.NOTHING})"
        case MeasureKind.QUANTILE:
            number = _VALUES[measure.value_type](path, values, declared)
            value = _MEASURED.format(number=f"toFloat64({number})", limit=MAX_MEASURED)
            return f"quantileExactInclusiveOrNullIf({measure.level!r})({value}, {counts})"
        case MeasureKind.TOTAL:
            return f"sumOrNullIf({payload_sql.decimal(path, values, declared, whole=whole)}, {counts})"
        case MeasureKind.AVERAGE:
            value = payload_sql.decimal(path, values, declared, whole=whole)
            return _AVERAGE.format(value=value, counts=counts)
        case MeasureKind.LEAST:
            return f"minOrNullIf({payload_sql.decimal(path, values, declared, whole=whole)}, {counts})"
        case MeasureKind.GREATEST:
            return f"maxOrNullIf({payload_sql.decimal(path, values, declared, whole=whole)}, {counts})"
    return " + ".join(f"ifNull(sumIf({number}, {counts}), 0)" for number in _numbers(measure, values, declared))


def _numbers(measure: Measure, values: dict[str, Any], declared: DeclaredPaths) -> Sequence[str]:
    """Expressions whose sums make up the measure: each number is in exactly one of the expressions."""
    if measure.value_type is int:
        return payload_sql.integers(measure.path, values, declared)
    values["max_addend"] = MAX_ADDEND
    return (_ADDED.format(number=payload_sql.number(measure.path, values, declared)),)
