"""Order of groups in ClickHouse, conditions on them, and the position after which an answer begins.

Groups have the columns `key_0`, `key_1`, … and `measure_0`, `measure_1`, …
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from functions.graphql.query.aggregation import (
    KEY_COLUMNS,
    Aggregation,
    Dimension,
    GroupPosition,
    HasValue,
    Having,
    Measure,
    Order,
)
from functions.graphql.query.bind import add_value
from functions.graphql.query.cut_text import cut_at
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import stored_number
from functions.shared.catalog.metric import MEASURED_DECIMALS

_TYPES: dict[Dimension, str] = {
    Dimension.FEATURE: "String",
    Dimension.EVENT: "UInt64",
    Dimension.USER: "UInt64",
    Dimension.NAMESPACE: "String",
    Dimension.PROJECT: "UInt64",
    Dimension.DAY: "Date32",
    Dimension.WEEK: "Date32",
    Dimension.MONTH: "Date32",
}
_TYPES_OF_PATH = ("UInt64", "Float64", "String", "String")
_BEGINNING = "substringUTF8({text}, 1, {length})"
_DIGEST = "if(lengthUTF8({text}) > {length}, lower(hex(MD5({text}))), '')"

# A decimal of this size or larger does not fit in a Decimal256 of `MEASURED_DECIMALS` places. No measure is as large.
_MAX_DECIMAL = Decimal(10) ** 35


class _Term(NamedTuple):
    """A sort key of the groups; missing values come last.

    Attributes:
        type: type of a dimension or of a column of a path.
    """

    expression: str
    descending: bool
    type: str = ""
    measure: Measure | None = None


def having(aggregation: Aggregation, count: str, values: dict[str, Any]) -> str:
    """The HAVING clause; empty without a condition. Adds its bind parameters to `values`.

    Args:
        count: expression for the number of a group's own events.
    """
    conditions = []
    if aggregation.looks_back and aggregation.is_grouped:
        conditions.append(f"{count} > 0")
    conditions += [_condition(each, _name(aggregation, each.measure), values) for each in aggregation.having]
    if aggregation.beyond is not None:
        conditions.append(_is_beyond(_terms(aggregation), aggregation.beyond, values))
    return f"HAVING {' AND '.join(conditions)}" if conditions else ""


def order(aggregation: Aggregation) -> str:
    """The ORDER BY clause; empty for a single group."""
    if not aggregation.is_grouped:
        return ""
    terms = (f"{each.expression} {'DESC' if each.descending else 'ASC'} NULLS LAST" for each in _terms(aggregation))
    return f"ORDER BY {', '.join(terms)}"


def _terms(aggregation: Aggregation) -> list[_Term]:
    types = [_TYPES[dimension] for dimension in aggregation.dimensions]
    sorted_by = sort_keys(types, aggregation.paths)
    keys = [_Term(expression, aggregation.ties_descend, kind) for expression, kind in sorted_by]

    def term(order: Order) -> _Term:
        if isinstance(order.by, Measure):
            return _Term(_name(aggregation, order.by), order.descending, measure=order.by)
        return keys[aggregation.dimensions.index(order.by)]._replace(descending=order.descending)

    return [*map(term, aggregation.order), *keys]


def sort_keys(types: Sequence[str], paths: Sequence[Path]) -> list[tuple[str, str]]:
    """What groups are sorted by, each with its type: their dimensions, of the given types, and their paths."""
    sorted_by = [(f"key_{number}", kind) for number, kind in enumerate(types)]
    length = cut_at(paths)
    for number in range(len(types), len(types) + KEY_COLUMNS * len(paths), KEY_COLUMNS):
        kind, value, text = (f"key_{number + column}" for column in range(KEY_COLUMNS))
        beginning, digest = (form.format(text=text, length=length) for form in (_BEGINNING, _DIGEST))
        sorted_by += zip((kind, value, beginning, digest), _TYPES_OF_PATH, strict=True)
    return sorted_by


def _name(aggregation: Aggregation, measure: Measure) -> str:
    return f"measure_{aggregation.measures.index(measure)}"


def _is_beyond(terms: list[_Term], position: GroupPosition, values: dict[str, Any]) -> str:
    """Whether a group comes after the position: at the first term in which the two differ."""
    condition = "false"
    for term, value in reversed(list(zip(terms, (*position.ordered, *position.keys), strict=True))):
        if value is None:
            condition = f"(isNull({term.expression}) AND {condition})"
            continue
        if term.measure is None:
            expression, bound = term.expression, f"{{{add_value(values, value)}:{term.type}}}"
        else:
            expression, bound = _comparable(term.expression, term.measure, value, values)
        after = f"ifNull({expression} {'<' if term.descending else '>'} {bound}, true)"
        condition = f"if(ifNull({expression} = {bound}, false), {condition}, {after})"
    return condition


def _condition(having: Having | HasValue, name: str, values: dict[str, Any]) -> str:
    if isinstance(having, HasValue):
        return f"{'isNotNull' if having.exists else 'isNull'}({name})"
    expression, bound = _comparable(name, having.measure, having.operand, values)
    return f"ifNull({expression} {having.comparison} {bound}, false)"


def _comparable(name: str, measure: Measure, operand: Any, values: dict[str, Any]) -> tuple[str, str]:
    """The measure and the operand, both as doubles if the measure is one, else as decimals."""
    if measure.is_double:
        return name, f"{{{add_value(values, float(operand))}:Float64}}"
    exact = operand if isinstance(operand, Decimal) else stored_number(operand)
    bounded = max(-_MAX_DECIMAL, min(_MAX_DECIMAL, exact))
    bound = f"toDecimal256({{{add_value(values, f'{bounded:f}')}:String}}, {MEASURED_DECIMALS})"
    return f"toDecimal256({name}, {MEASURED_DECIMALS})", bound
