"""Order of groups in PostgreSQL, conditions on them, and the position after which an answer begins."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import batched
from typing import Any, NamedTuple

from psycopg import sql

from functions.graphql.query.aggregation import (
    KEY_COLUMNS,
    Aggregation,
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

_IS_CURRENT = sql.SQL("bool_or(is_current)")


_BEGINNING = sql.SQL("left({text}, {length})")
_DIGEST = sql.SQL("""CASE WHEN length({text}) > {length} THEN md5({text}) ELSE '' END COLLATE "C\"""")


class _Term(NamedTuple):
    """A sort key of the groups; missing values come last."""

    expression: sql.Composable
    descending: bool
    measure: Measure | None = None


def having(
    aggregation: Aggregation,
    keys: Sequence[sql.Composable],
    measures: Sequence[sql.Composable],
    values: dict[str, Any],
) -> sql.Composable:
    """The HAVING clause; empty without a condition.

    Args:
        keys: expressions of the key columns.
        measures: expression of each measure.
    """
    conditions: list[sql.Composable] = []
    if aggregation.looks_back and aggregation.is_grouped:
        conditions.append(_IS_CURRENT)
    conditions += [
        _condition(each, measures[aggregation.measures.index(each.measure)], values) for each in aggregation.having
    ]
    if aggregation.beyond is not None:
        conditions.append(_is_beyond(_terms(aggregation, keys, measures), aggregation.beyond, values))
    return sql.SQL("HAVING {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def order(
    aggregation: Aggregation, keys: Sequence[sql.Composable], measures: Sequence[sql.Composable]
) -> sql.Composable:
    """The ORDER BY clause; empty for a single group. The arguments are those of `having`."""
    if not keys:
        return sql.SQL("")
    terms = (
        sql.SQL("{} {} NULLS LAST").format(term.expression, sql.SQL("DESC" if term.descending else "ASC"))
        for term in _terms(aggregation, keys, measures)
    )
    return sql.SQL("ORDER BY {}").format(sql.SQL(", ").join(terms))


def _terms(aggregation: Aggregation, keys: Sequence[sql.Composable], measures: Sequence[sql.Composable]) -> list[_Term]:
    def term(order: Order) -> _Term:
        if isinstance(order.by, Measure):
            return _Term(measures[aggregation.measures.index(order.by)], order.descending, order.by)
        return _Term(keys[aggregation.dimensions.index(order.by)], order.descending)

    sorted_by = sort_keys(keys, len(aggregation.dimensions), aggregation.paths)
    return [*map(term, aggregation.order), *(_Term(key, aggregation.ties_descend) for key in sorted_by)]


def sort_keys(keys: Sequence[sql.Composable], dimensions: int, paths: Sequence[Path]) -> list[sql.Composable]:
    """What groups are sorted by, from their keys: one a dimension, `KEY_COLUMNS` a path."""
    sorted_by = list(keys[:dimensions])
    length = sql.Literal(cut_at(paths))
    for kind, number, text in batched(keys[dimensions:], KEY_COLUMNS, strict=True):
        sorted_by += [kind, number, *(form.format(text=text, length=length) for form in (_BEGINNING, _DIGEST))]
    return sorted_by


def _is_beyond(terms: Sequence[_Term], position: GroupPosition, values: dict[str, Any]) -> sql.Composable:
    """Whether a group comes after the position: at the first term in which the two differ."""
    condition: sql.Composable = sql.SQL("false")
    for term, value in reversed(list(zip(terms, (*position.ordered, *position.keys), strict=True))):
        if value is None:
            condition = sql.SQL("({} IS NULL AND {})").format(term.expression, condition)
            continue
        bound = sql.Placeholder(add_value(values, _operand(value, term.measure)))
        condition = sql.SQL(
            "CASE WHEN {term} = {value} THEN {then} ELSE coalesce({term} {after} {value}, true) END"
        ).format(term=term.expression, value=bound, then=condition, after=sql.SQL("<" if term.descending else ">"))
    return condition


def _condition(having: Having | HasValue, measure: sql.Composable, values: dict[str, Any]) -> sql.Composable:
    if isinstance(having, HasValue):
        return sql.SQL("{} IS NOT NULL" if having.exists else "{} IS NULL").format(measure)
    bound = sql.Placeholder(add_value(values, _operand(having.operand, having.measure)))
    return sql.SQL("coalesce({} {} {}, false)").format(measure, sql.SQL(having.comparison), bound)


def _operand(value: Any, measure: Measure | None) -> Any:
    """The value to compare with: of a measure a double if the measure is one, else a decimal."""
    if measure is None:
        return value
    if measure.is_double:
        return float(value)
    return value if isinstance(value, Decimal) else stored_number(value)
