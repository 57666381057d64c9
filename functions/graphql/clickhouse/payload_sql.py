"""SQL expressions for values in payloads in ClickHouse: `payload`, of type `JSON`.

An expression reads only the subcolumn of its path. A path with indexes reads the array at the first index. A key that
can't name a subcolumn reads the whole payload. A path in `declared` reads the table's own column for the path, which
keeps its place however many keys payloads have.

Each function adds its bind parameters to `values`. Run the statement with `SETTINGS`.
"""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, NamedTuple

from clickhouse_connect.driver.binding import quote_identifier

from functions.graphql.query.bind import add_value
from functions.graphql.query.conditions import Compares, Condition, Differs, EqualsAny, Exists
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import Scalar, ScalarKind
from functions.shared.clickhouse import READ_SETTINGS, column_of

# Twenty filters with all operators and long paths exceed ClickHouse's default length of a statement.
SETTINGS = READ_SETTINGS | {"max_query_size": 8 * 1024 * 1024}

_MAX_SIGNED = 2**63 - 1

# Other ASCII characters are escaped, so that none can end the name or start a bind parameter.
_UNSAFE = re.compile(r"[^A-Za-z0-9_%.\u0080-\U0010ffff]")

_ARRAY_TEXT = "ifNull(toJSONString({column}), '')"
_PAYLOAD_TEXT = "toJSONString(payload)"
_KEYS = "JSONExtractRaw({text}, {keys})"
_ELEMENT = "JSONExtractArrayRaw({text})[{position}]"
_ELEMENT_OF_KEYS = "JSONExtractArrayRaw({text}, {keys})[{position}]"

_COMPARES = "ifNull({value} {ordering} {operand}, false)"
_IS_IN = "ifNull({value} IN {operands}, false)"


type DeclaredPaths = frozenset[tuple[str, ...]]


class _Value(NamedTuple):
    """Expressions for the value at a path, one for each type; NULL for a value of another type.

    Attributes:
        signed: Int64; an integer that fits.
        unsigned: UInt64; an integer that fits, but not in `signed`.
        fraction: Float64; any other number, or an integer written as a fraction.
        string: String.
        boolean: Bool.
        json: String; JSON of a value of any type.
        present: Bool, never NULL; whether the path has a value.
    """

    signed: str
    unsigned: str
    fraction: str
    string: str
    boolean: str
    json: str
    present: str


def condition(condition: Condition, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """Whether a payload fulfils the condition: true or false, never NULL."""
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


def json_text(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """JSON of the value at the path; NULL without a value."""
    return _value(path, values, declared).json


def integer(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The integer at the path as Int128, if it fits in 64 bits, signed or unsigned; else NULL."""
    return f"coalesce({', '.join(integers(path, values, declared))})"


def integers(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> tuple[str, ...]:
    """Expressions of which at most one is not NULL; summing each is faster than summing `integer`."""
    return _integers(_value(path, values, declared))


def number(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The number at the path as Float64, else NULL."""
    return _number(_value(path, values, declared))


def text(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The string at the path, else NULL."""
    return _value(path, values, declared).string


def boolean(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The boolean at the path, else NULL."""
    return _value(path, values, declared).boolean


def scalar_key(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> tuple[str, str, str]:
    """Three columns to group and sort by the scalar at the path; `scalar_from_key` reads them."""
    value = _value(path, values, declared)
    as_number = _number(value)
    kind = (
        f"multiIf(isNotNull({value.boolean}), {ScalarKind.BOOLEAN}, isNotNull({as_number}), {ScalarKind.NUMBER},"
        f" isNotNull({value.string}), {ScalarKind.STRING}, {ScalarKind.NOTHING})"
    )
    any_text = (
        f"coalesce({value.string}, toString({value.boolean}), toString(coalesce({', '.join(_integers(value))})), '')"
    )
    return kind, f"(ifNull({as_number}, 0) + 0.0)", any_text  # -0.0 becomes 0.0


def _integers(value: _Value) -> tuple[str, ...]:
    # The second expression is rarely not NULL; testing `fraction` first makes sums faster.
    signed, unsigned = (f"toInt128(accurateCastOrNull({value.fraction}, '{kind}'))" for kind in ("Int64", "UInt64"))
    rare = f"if(isNull({value.fraction}), toInt128({value.unsigned}), coalesce({signed}, {unsigned}))"
    return f"toInt128({value.signed})", rare


def _number(value: _Value) -> str:
    return f"coalesce(toFloat64({value.signed}), toFloat64({value.unsigned}), {value.fraction})"


def _value(path: Path, values: dict[str, Any], declared: DeclaredPaths) -> _Value:
    keys = [str(step) for step in takewhile(lambda step: isinstance(step, str), path)]
    name = ".".join(key.replace(".", "%2E") for key in keys)
    # ClickHouse treats backticks in a name specially, and reads %2E as a dot. No stored key contains %2E.
    if not name or any("`" in key or "%2E" in key for key in keys):
        return _extracted(_PAYLOAD_TEXT, path, values)
    quoted = f"`{_UNSAFE.sub(lambda unsafe: f'\\x{ord(unsafe[0]):02x}', name)}`"
    column, inner, typed = f"payload.{quoted}", f"payload.^{quoted}", f"payload.{quoted}.:"
    if tuple(keys) in declared:
        column = quote_identifier(column_of(keys))
        typed = f"{column}."
    if len(keys) < len(path):
        return _extracted(_ARRAY_TEXT.format(column=column), path[len(keys) :], values)
    return _Value(
        signed=f"{typed}Int64",
        unsigned=f"{typed}UInt64",
        fraction=f"{typed}Float64",
        string=f"{typed}String",
        boolean=f"{typed}Bool",
        json=f"if(notEmpty({inner}), toJSONString({inner}), toJSONString({column}))",
        present=f"(isNotNull({column}) OR notEmpty({inner}))",
    )


def _extracted(json: str, path: Path, values: dict[str, Any]) -> _Value:
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
    return _Value(
        signed=signed,
        unsigned=unsigned,
        fraction=f"if(isNull({signed}) AND isNull({unsigned}), toFloat64OrNull({json}), NULL)",
        string=f"if(startsWith({json}, '\"'), JSONExtractString({json}), NULL)",
        boolean=f"multiIf({json} = 'true', true, {json} = 'false', false, NULL)",
        json=f"if({json} IN ('', 'null'), NULL, {json})",
        present=f"({json} NOT IN ('', 'null'))",
    )


def _equals_any(value: _Value, operands: Iterable[Scalar], values: dict[str, Any]) -> str:
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


def _alternatives(value: _Value, operand: Scalar) -> tuple[str, ...]:
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
