"""SQL expressions for values in payloads in ClickHouse: `payload`, of type `JSON`.

An expression reads only the subcolumn of its path. A path with indexes reads the array at the first index. A key that
can't name a subcolumn reads the whole payload. A path in `declared` reads the table's own column for the path, which
keeps its place however many keys payloads have.

Each function adds its bind parameters to `values`. Run the statement with `SETTINGS`.
"""

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

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
from functions.graphql.query.scalar import Scalar, ScalarKind
from functions.shared import payload_value
from functions.shared.catalog.metric import MAX_MEASURED, MEASURED_DECIMALS
from functions.shared.clickhouse import READ_SETTINGS
from functions.shared.payload_value import DeclaredPaths, PayloadValue, column_at, value_at

# Twenty filters with all operators and long paths exceed ClickHouse's default length of a statement.
SETTINGS = READ_SETTINGS | {"max_query_size": 8 * 1024 * 1024}

_MAX_SIGNED = 2**63 - 1

_ARRAY_TEXT = "ifNull(toJSONString({column}), '')"
_PAYLOAD_TEXT = "toJSONString(payload)"
_KEYS = "JSONExtractRaw({text}, {keys})"
_ELEMENT = "JSONExtractArrayRaw({text})[{position}]"
_ELEMENT_OF_KEYS = "JSONExtractArrayRaw({text}, {keys})[{position}]"

_COMPARES = "ifNull({value} {ordering} {operand}, false)"
_IS_IN = "ifNull({value} IN {operands}, false)"


def condition(of: Condition, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """Whether a payload fulfils the condition: true or false, never NULL."""
    match of:
        case Not(inner):
            return f"(NOT {condition(inner, values, declared)})"
        case AnyOf(inner):
            return _any_of(condition(each, values, declared) for each in inner)
        case AllOf(inner):
            return f"({' AND '.join(condition(each, values, declared) for each in inner) or 'true'})"
    return _path_condition(of, values, declared)


def _path_condition(condition: PathCondition, values: dict[str, Any], declared: DeclaredPaths) -> str:
    value = _value(condition.path, values, declared)
    match condition:
        case Exists(_, exists):
            return value.present if exists else f"(NOT {value.present})"
        case EqualsAny(_, operands):
            return _equals_any(value, operands, values)
        case Differs(_, operand):
            return f"({value.present} AND NOT {_equals_any(value, (operand,), values)})"
        case Compares(_, ordering, operand):
            bound = _bound(operand, _type_of(operand), values)
            return _any_of(
                _COMPARES.format(value=alternative, ordering=ordering, operand=bound)
                for alternative in _alternatives(value, operand)
            )
        case Like(_, pattern):
            return f"ifNull({value.string} LIKE {_bound(pattern, 'String', values)}, false)"
        case StartsWith(_, prefix):
            return f"ifNull(startsWith({value.string}, {_bound(prefix, 'String', values)}), false)"
        case Contains(_, operand):
            is_equal = _equals_any(_extracted("element", (), values), (operand,), values)
            return f"arrayExists(element -> {is_equal}, JSONExtractArrayRaw(ifNull({value.json}, '')))"


def json_text(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """JSON of the value at the path; NULL without a value."""
    return _value(path, values, declared).json


def integer(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The integer at the path as Int128, if it fits in 64 bits, signed or unsigned; else NULL."""
    return f"coalesce({', '.join(integers(path, values, declared))})"


def integers(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> tuple[str, ...]:
    """Expressions of which at most one is not NULL; summing each is faster than summing `integer`."""
    return payload_value.integers(_value(path, values, declared))


def number(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The number at the path as Float64, else NULL."""
    return payload_value.number(_value(path, values, declared))


def decimal(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset(), *, whole: bool = False) -> str:
    """The number at the path as Decimal256 of `MEASURED_DECIMALS` places, if smaller than `MAX_MEASURED`; else NULL.

    Args:
        whole: leaves out numbers that `integer` leaves out.
    """
    value = _value(path, values, declared)
    integer = f"coalesce({', '.join(payload_value.integers(value))})"
    exact = f"toDecimal256({integer}, {MEASURED_DECIMALS})"
    if whole:
        return exact
    # The text of a double is its shortest decimal, which PostgreSQL stores.
    shortest = f"toDecimal256OrNull(toString({value.fraction}), {MEASURED_DECIMALS})"
    return f"if(isNull({integer}), if(abs({value.fraction}) < {MAX_MEASURED}, {shortest}, NULL), {exact})"


def text(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The string at the path, else NULL."""
    return _value(path, values, declared).string


def boolean(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The boolean at the path, else NULL."""
    return _value(path, values, declared).boolean


def scalar_key(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> tuple[str, str, str]:
    """Three columns to group and sort by the scalar at the path; `scalar_from_key` reads them."""
    value = _value(path, values, declared)
    as_number = payload_value.number(value)
    kind = (
        f"multiIf(isNotNull({value.boolean}), {ScalarKind.BOOLEAN}, isNotNull({as_number}), {ScalarKind.NUMBER},"
        f" isNotNull({value.string}), {ScalarKind.STRING}, {ScalarKind.NOTHING})"
    )
    integers = ", ".join(payload_value.integers(value))
    any_text = f"coalesce({value.string}, toString({value.boolean}), toString(coalesce({integers})), '')"
    return kind, f"(ifNull({as_number}, 0) + 0.0)", any_text  # -0.0 becomes 0.0


def _value(path: Path, values: dict[str, Any], declared: DeclaredPaths) -> PayloadValue:
    keys = [str(step) for step in takewhile(lambda step: isinstance(step, str), path)]
    column = column_at(keys, declared)
    if column is not None and len(keys) < len(path):
        return _extracted(_ARRAY_TEXT.format(column=column), path[len(keys) :], values)
    return value_at(keys, declared) or _extracted(_PAYLOAD_TEXT, path, values)


def _extracted(json: str, path: Path, values: dict[str, Any]) -> PayloadValue:
    """The value at a path within a JSON text, which is empty without a value.

    ClickHouse writes 8.0 as 8, so a number that parses as an integer is an integer here.
    """
    keys: list[str] = []
    for step in path:
        if isinstance(step, str):
            keys.append(_bound(step, "String", values))
            continue
        element = _ELEMENT_OF_KEYS if keys else _ELEMENT
        json = element.format(text=json, keys=", ".join(keys), position=step + 1)
        keys = []
    if keys:
        json = _KEYS.format(text=json, keys=", ".join(keys))
    signed = f"toInt64OrNull({json})"
    unsigned = f"if(isNull({signed}), toUInt64OrNull({json}), NULL)"
    return PayloadValue(
        signed=signed,
        unsigned=unsigned,
        fraction=f"if(isNull({signed}) AND isNull({unsigned}), toFloat64OrNull({json}), NULL)",
        string=f"if(startsWith({json}, '\"'), JSONExtractString({json}), NULL)",
        boolean=f"multiIf({json} = 'true', true, {json} = 'false', false, NULL)",
        json=f"if({json} IN ('', 'null'), NULL, {json})",
        present=f"({json} NOT IN ('', 'null'))",
    )


def _equals_any(value: PayloadValue, operands: Iterable[Scalar], values: dict[str, Any]) -> str:
    """Whether the value equals one of the operands. A float operand never equals a 64-bit integer."""
    strings = [operand for operand in operands if isinstance(operand, str)]
    booleans = [operand for operand in operands if isinstance(operand, bool)]
    numbers = [operand for operand in operands if isinstance(operand, int | float) and not isinstance(operand, bool)]
    integers = [number for number in numbers if isinstance(number, int)]
    floats = [float(number) for number in numbers if float(number) == number]
    operands_by_type = (
        (value.signed, "Int64", [number for number in integers if number <= _MAX_SIGNED]),
        (value.unsigned, "UInt64", [number for number in integers if number > _MAX_SIGNED]),
        (value.fraction, "Float64", floats + [-0.0] * (0 in floats)),  # IN distinguishes -0.0 from 0.0
        (value.string, "String", strings),
        (value.boolean, "Bool", booleans),
    )
    return _any_of(
        _IS_IN.format(value=expression, operands=_bound(typed, f"Array({kind})", values))
        for expression, kind, typed in operands_by_type
        if typed
    )


def _alternatives(value: PayloadValue, operand: Scalar) -> tuple[str, ...]:
    """The expressions for values of the operand's type."""
    if isinstance(operand, bool):
        return (value.boolean,)
    if isinstance(operand, str):
        return (value.string,)
    return value.signed, value.unsigned, value.fraction


def _type_of(operand: Scalar) -> str:
    if isinstance(operand, bool):
        return "Bool"
    if isinstance(operand, str):
        return "String"
    if isinstance(operand, float):
        return "Float64"
    return "Int64" if operand <= _MAX_SIGNED else "UInt64"


def _any_of(conditions: Iterable[str]) -> str:
    """The conditions joined by OR; false without any."""
    return f"({' OR '.join(conditions) or 'false'})"


def _bound(value: Any, kind: str, values: dict[str, Any]) -> str:
    return f"{{{add_value(values, value)}:{kind}}}"
