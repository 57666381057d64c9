"""SQL for what is in payloads in ClickHouse: `payload`, of type `JSON`.

Only the subcolumns that a path names are read; of a path with indexes, the array at its first one; the whole payload
for the few keys that no subcolumn can be named by. A path in `declared` is read from the table's column for it, which
other keys of payloads can't push out of its place. Each function adds the values to be bound to `values`. The statement
is to be run with `SETTINGS`.
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

# Twenty filters with all operators and long paths make a statement longer than ClickHouse would parse by itself.
SETTINGS = READ_SETTINGS | {"max_query_size": 8 * 1024 * 1024}

_MAX_SIGNED = 2**63 - 1

# All others of ASCII are written by their codes, so that none can end the name or stand for a value.
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
    """What may be at a path, as expressions of which those that do not apply are NULL.

    Attributes:
        signed: Int64, where it is a number that fits.
        unsigned: UInt64, where it is a number that fits, and not in `signed`.
        fraction: Float64, where it is any other number, or a whole one that was written as a fraction.
        string: String.
        boolean: Bool.
        json: JSON of anything.
        present: never NULL.
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
    """The JSON of what is at the path; NULL where nothing is."""
    return _value(path, values, declared).json


def integer(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> str:
    """The number at the path, as Int128, where it is whole and fits in 64 bits, signed or unsigned; else NULL."""
    return f"coalesce({', '.join(integers(path, values, declared))})"


def integers(path: Path, values: dict[str, Any], declared: DeclaredPaths = frozenset()) -> tuple[str, ...]:
    """As `integer`, but expressions of which at most one is not NULL: to add each up is faster than all in one."""
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
    """What equal scalars at the path have in common, and unlike ones are sorted by; `scalar_from_key` reads it."""
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
    # Hardly any number is in the second one: where it is looked at no closer than it must, a sum is faster.
    signed, unsigned = (f"toInt128(accurateCastOrNull({value.fraction}, '{kind}'))" for kind in ("Int64", "UInt64"))
    rare = f"if(isNull({value.fraction}), toInt128({value.unsigned}), coalesce({signed}, {unsigned}))"
    return f"toInt128({value.signed})", rare


def _number(value: _Value) -> str:
    return f"coalesce(toFloat64({value.signed}), toFloat64({value.unsigned}), {value.fraction})"


def _value(path: Path, values: dict[str, Any], declared: DeclaredPaths) -> _Value:
    keys = [str(step) for step in takewhile(lambda step: isinstance(step, str), path)]
    name = ".".join(key.replace(".", "%2E") for key in keys)
    # ClickHouse has a meaning of its own for backticks in a name, and takes %2E, which no stored key has, for a dot.
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
    """What is at a path within a JSON text, which is empty where there is nothing.

    ClickHouse writes no fraction that is none, so a number there is an integer where it can be read as one.
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
    """Whether the value is one of the operands. A float is among them only where no integer equals it."""
    strings = [operand for operand in operands if isinstance(operand, str)]
    booleans = [operand for operand in operands if isinstance(operand, bool)]
    numbers = [operand for operand in operands if isinstance(operand, int | float) and not isinstance(operand, bool)]
    integers = [number for number in numbers if isinstance(number, int)]
    floats = [float(number) for number in numbers if float(number) == number]
    among = (
        (value.signed, "Int64", [number for number in integers if number <= _MAX_SIGNED]),
        (value.unsigned, "UInt64", [number for number in integers if number > _MAX_SIGNED]),
        (value.fraction, "Float64", floats + [-0.0] * (0 in floats)),  # a set tells -0.0 from 0.0
        (value.string, "String", strings),
        (value.boolean, "Bool", booleans),
    )
    return _any_of(
        _IS_IN.format(value=expression, operands=_bound(kept, f"Array({kind})", values))
        for expression, kind, kept in among
        if kept
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
    """Whether one of the conditions is fulfilled: not if there are none."""
    return f"({' OR '.join(conditions) or 'false'})"


def _bound(value: Any, kind: str, values: dict[str, Any]) -> str:
    return f"{{{add_value(values, value)}:{kind}}}"
