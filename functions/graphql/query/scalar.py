"""Scalars of payloads: strings, numbers and booleans, and how rows that are grouped by them hold them."""

from decimal import Decimal
from enum import IntEnum

type Scalar = str | int | float | bool

_MIN_FLOAT_WITH_ALL_DIGITS = 2.0**63


class ScalarKind(IntEnum):
    """What a value is, in the order in which unlike ones are sorted."""

    NOTHING = 0
    BOOLEAN = 1
    NUMBER = 2
    STRING = 3


def stored_number(number: int | float) -> Decimal:
    """The number as PostgreSQL has it once it came through `functions.shared.catalog.payload.encode_payload`.

    That is the shortest decimal that means the double (1152921504606847000 for 2.0**60), and from 2^63 on all digits.
    """
    if isinstance(number, int) or abs(number) >= _MIN_FLOAT_WITH_ALL_DIGITS:
        return Decimal(number)
    return Decimal(repr(number))


def scalar_from_key(kind: int, number: float, text: str) -> Scalar | None:
    """The scalar whose key, as both stores select it, consists of these; None for anything else and for nothing.

    Args:
        kind: a `ScalarKind`.
        number: of a number, what is nearest to it as a double; else 0.
        text: of a string, itself; of a boolean, `true` or `false`; of a whole number of at most 64 bits, its digits.
    """
    if kind == ScalarKind.STRING:
        return text
    if kind == ScalarKind.BOOLEAN:
        return text == "true"
    if kind == ScalarKind.NUMBER:
        return int(text) if text else number
    return None
