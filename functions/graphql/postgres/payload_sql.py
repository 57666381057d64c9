"""SQL expressions for values in payloads in PostgreSQL: `events.payload`, of type `jsonb`.

No expression raises an error, whatever a payload holds. Each function adds its bind parameters to `values`.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import sql
from psycopg.sql import Composable

from functions.graphql.query.bind import add_value
from functions.graphql.query.conditions import (
    AllOf,
    AnyOf,
    Compares,
    Condition,
    Contains,
    Differs,
    EqualsAny,
    Exists,
    Like,
    Not,
    PathCondition,
    StartsWith,
)
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import Scalar, ScalarKind, stored_number

_PAYLOAD = sql.SQL("events.payload")
_KEY = sql.SQL("({value} -> {step}::text)")
# The operator `->` would treat a scalar as an array of one element.
_INDEX = sql.SQL("jsonb_path_query_first({value}, {step}::jsonpath, '{{}}', true)")
_PRESENT_OR_NULL = sql.SQL("NULLIF({value}, 'null')")

# An object of nothing but objects and nulls, at any depth, counts as missing: ClickHouse does not store it.
_PRESENT_AT_KEY = sql.SQL("""
    CASE jsonb_typeof({value})
        WHEN 'object' THEN jsonb_path_exists({value}, 'strict $.** ? (@.type() != "object" && @.type() != "null")')
        ELSE {value} IS NOT NULL
    END
""")
_PRESENT_AT_INDEX = sql.SQL("({value} IS NOT NULL)")

_MISSING = sql.SQL("(NOT {present})")
_EQUALS_ANY = sql.SQL("coalesce({value} = ANY({operands}::jsonb[]), false)")
_DIFFERS = sql.SQL("({present} AND coalesce({value} <> {operand}::jsonb, false))")
_COMPARES = sql.SQL("coalesce({value} {ordering} {operand}, false)")
_LIKE = sql.SQL("coalesce({value} LIKE {pattern}, false)")
_STARTS_WITH = sql.SQL("coalesce(starts_with({value}, {prefix}), false)")
_CONTAINS = sql.SQL("coalesce(jsonb_typeof({value}) = 'array' AND {value} @> {operand}::jsonb, false)")
_NOT = sql.SQL("(NOT {})")

_JSON_TEXT = sql.SQL("(CASE WHEN {present} THEN {value}::text END)")
_NUMERIC = sql.SQL("(CASE jsonb_typeof({value}) WHEN 'number' THEN {value}::numeric END)")
_TEXT = sql.SQL("""(CASE jsonb_typeof({value}) WHEN 'string' THEN {value} #>> '{{}}' END COLLATE "C")""")
_BOOLEAN = sql.SQL("(CASE jsonb_typeof({value}) WHEN 'boolean' THEN {value}::boolean END)")
_INTEGER = sql.SQL("""
    (CASE WHEN {numeric} BETWEEN -9223372036854775808 AND 18446744073709551615 AND {numeric} = trunc({numeric})
          THEN trunc({numeric}) END)
""")
# The cast fails for numbers below the smallest double or above the largest.
_NUMBER = sql.SQL("""
    (CASE WHEN {numeric} = 0 OR abs({numeric}) BETWEEN 2.5e-324 AND 1.7976931348623158e308
          THEN {numeric}::double precision END)
""")
_KIND = sql.SQL("""
    (CASE jsonb_typeof({value})
        WHEN 'string' THEN {a_string}
        WHEN 'boolean' THEN {a_boolean}
        WHEN 'number' THEN CASE WHEN {number} IS NOT NULL THEN {a_number} ELSE {nothing} END
        ELSE {nothing}
    END)
""")
_NUMBER_OR_ZERO = sql.SQL("coalesce({number}, 0)")
_ANY_TEXT = sql.SQL("""
    (coalesce(
        CASE jsonb_typeof({value})
            WHEN 'string' THEN {value} #>> '{{}}'
            WHEN 'boolean' THEN {value}::text
            WHEN 'number' THEN {integer}::text
        END, '') COLLATE "C")
""")


def condition(of: Condition, values: dict[str, Any]) -> Composable:
    """Whether a payload fulfils the condition: true or false, never NULL."""
    match of:
        case Not(inner):
            return _NOT.format(condition(inner, values))
        case AnyOf(inner):
            return _joined(" OR ", inner, "false", values)
        case AllOf(inner):
            return _joined(" AND ", inner, "true", values)
    return _path_condition(of, values)


def _joined(
    operator: LiteralString, conditions: Sequence[Condition], empty: LiteralString, values: dict[str, Any]
) -> Composable:
    parts = [condition(each, values) for each in conditions]
    return sql.SQL("({})").format(sql.SQL(operator).join(parts) if parts else sql.SQL(empty))


def _path_condition(condition: PathCondition, values: dict[str, Any]) -> Composable:
    found = value(condition.path, values)
    match condition:
        case Exists(path, exists):
            present = _present(path, found)
            return present if exists else _MISSING.format(present=present)
        case EqualsAny(_, operands):
            return _EQUALS_ANY.format(value=found, operands=_bound(list(map(_json, operands)), values))
        case Differs(path, operand):
            return _DIFFERS.format(present=_present(path, found), value=found, operand=_bound(_json(operand), values))
        case Compares(_, ordering, operand):
            typed_value, typed_operand = _comparable(found, operand, values)
            return _COMPARES.format(value=typed_value, ordering=sql.SQL(ordering), operand=typed_operand)
        case Like(_, pattern):
            return _LIKE.format(value=_TEXT.format(value=found), pattern=_bound(pattern, values))
        case StartsWith(_, prefix):
            return _STARTS_WITH.format(value=_TEXT.format(value=found), prefix=_bound(prefix, values))
        case Contains(_, operand):
            return _CONTAINS.format(value=found, operand=_bound(f"[{_json(operand)}]", values))


def json_text(path: Path, values: dict[str, Any]) -> Composable:
    """JSON of the value at the path; NULL without a value."""
    found = value(path, values)
    return _JSON_TEXT.format(present=_present(path, found), value=found)


def integer(path: Path, values: dict[str, Any]) -> Composable:
    """The integer at the path as `numeric`, if it fits in 64 bits, signed or unsigned; else NULL."""
    return integer_of(numeric_of(value(path, values)))


def text(path: Path, values: dict[str, Any]) -> Composable:
    """The string at the path, else NULL. Strings sort by bytes."""
    return text_of(value(path, values))


def number(path: Path, values: dict[str, Any]) -> Composable:
    """The number at the path as `double precision`; NULL without one, or outside a double's range."""
    return double_of(numeric_of(value(path, values)))


def boolean(path: Path, values: dict[str, Any]) -> Composable:
    """The boolean at the path, else NULL."""
    return boolean_of(value(path, values))


def scalar_key(path: Path, values: dict[str, Any]) -> tuple[Composable, Composable, Composable]:
    """Three columns to group and sort by the scalar at the path; `scalar_from_key` reads them."""
    found = value(path, values)
    return scalar_key_of(found, numeric_of(found))


def numeric_of(value: Composable) -> Composable:
    """The number that a value is, as `numeric`; NULL if it is none."""
    return _NUMERIC.format(value=value)


def integer_of(numeric: Composable) -> Composable:
    """The number if it is an integer that fits in 64 bits, signed or unsigned; else NULL."""
    return _INTEGER.format(numeric=numeric)


def double_of(numeric: Composable) -> Composable:
    """The number as `double precision`; NULL outside a double's range."""
    return _NUMBER.format(numeric=numeric)


def text_of(value: Composable) -> Composable:
    """The string that a value is, else NULL. Strings sort by bytes."""
    return _TEXT.format(value=value)


def boolean_of(value: Composable) -> Composable:
    """The boolean that a value is, else NULL."""
    return _BOOLEAN.format(value=value)


def scalar_key_of(value: Composable, numeric: Composable) -> tuple[Composable, Composable, Composable]:
    """Three columns to group and sort by the scalar that a value is; `scalar_from_key` reads them."""
    as_number = double_of(numeric)
    kind = _KIND.format(
        value=value,
        number=as_number,
        a_boolean=ScalarKind.BOOLEAN,
        a_number=ScalarKind.NUMBER,
        a_string=ScalarKind.STRING,
        nothing=ScalarKind.NOTHING,
    )
    return kind, _NUMBER_OR_ZERO.format(number=as_number), _ANY_TEXT.format(value=value, integer=integer_of(numeric))


def value(path: Path, values: dict[str, Any]) -> Composable:
    """The value at the path as `jsonb`; NULL for null and without a value."""
    found: Composable = _PAYLOAD
    for step in path:
        if isinstance(step, str):
            found = _KEY.format(value=found, step=_bound(step, values))
        else:
            found = _INDEX.format(value=found, step=_bound(f"strict $[{step}]", values))
    return _PRESENT_OR_NULL.format(value=found)


def _present(path: Path, value: Composable) -> Composable:
    return (_PRESENT_AT_KEY if isinstance(path[-1], str) else _PRESENT_AT_INDEX).format(value=value)


def _comparable(value: Composable, operand: Scalar, values: dict[str, Any]) -> tuple[Composable, Composable]:
    """Value and operand, both as the operand's type."""
    if isinstance(operand, bool):
        return _BOOLEAN.format(value=value), _bound(operand, values)
    if isinstance(operand, str):
        return _TEXT.format(value=value), _bound(operand, values)
    return _NUMERIC.format(value=value), _bound(stored_number(operand), values)


def _json(operand: Scalar) -> str:
    """The operand as JSON, to compare with `jsonb`."""
    if isinstance(operand, str | bool):
        return msgspec.json.encode(operand).decode()
    return str(stored_number(operand))


def _bound(value: Any, values: dict[str, Any]) -> Composable:
    return sql.Placeholder(add_value(values, value))
