"""Scalars of payloads: strings, numbers and booleans, and their form in SQL."""

from decimal import Decimal
from enum import IntEnum
from typing import Any

type Scalar = str | int | float | bool

_MIN_FLOAT_WITH_ALL_DIGITS = 2.0**63


class ScalarKind(IntEnum):
    """Kind of a value. Values of different kinds sort in this order."""

    NOTHING = 0
    BOOLEAN = 1
    NUMBER = 2
    STRING = 3


def stored_number(number: int | float) -> Decimal:
    """The decimal that PostgreSQL stores for a number of a payload.

    A double is stored as the shortest decimal that reads back as the double (1152921504606847000 for 2.0**60), and with
    all its digits from 2^63 on.
    """
    if isinstance(number, int) or abs(number) >= _MIN_FLOAT_WITH_ALL_DIGITS:
        return Decimal(number)
    return Decimal(repr(number))


def scalar_from_key(kind: int, number: float, text: str) -> Scalar | None:
    """Converts the key of three columns that both stores select for a scalar; None for NOTHING.

    Args:
        kind: a `ScalarKind`.
        number: nearest double of a number; else 0.
        text: the string; `true` or `false`; the digits of an integer of at most 64 bits; else empty.
    """
    if kind == ScalarKind.STRING:
        return text
    if kind == ScalarKind.BOOLEAN:
        return text == "true"
    if kind == ScalarKind.NUMBER:
        return int(text) if text else number
    return None


def key_of_scalar(value: Scalar | None) -> tuple[int, float, str]:
    """The key of a scalar, which `scalar_from_key` reads."""
    match value:
        case None:
            return ScalarKind.NOTHING, 0.0, ""
        case bool():
            return ScalarKind.BOOLEAN, 0.0, "true" if value else "false"
        case str():
            return ScalarKind.STRING, 0.0, value
    return ScalarKind.NUMBER, float(value), str(value) if isinstance(value, int) else ""


def json_number(value: Any) -> Any:
    """A decimal as an integer if it is one, else as the nearest double; any other value unchanged."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)
