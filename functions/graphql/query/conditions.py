"""Filters on payloads, as clients write them and as both stores understand them.

Numbers compare as numbers, strings as strings, booleans as booleans. Across types, nothing is equal, less or more.
A null is as missing, and what is missing fulfils only that it does not exist.
"""

from enum import StrEnum

import msgspec

from functions.graphql.query.path import Path
from functions.graphql.query.scalar import Scalar


class Ordering(StrEnum):
    """How a value compares with another of its type; as SQL writes it."""

    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    LESS = "<"
    LESS_OR_EQUAL = "<="


class Exists(msgspec.Struct, frozen=True):
    """There is a value at the path, or there is none."""

    path: Path
    exists: bool


class EqualsAny(msgspec.Struct, frozen=True):
    """The value at the path equals one of these."""

    path: Path
    operands: tuple[Scalar, ...]


class Differs(msgspec.Struct, frozen=True):
    """There is a value at the path, and it does not equal this."""

    path: Path
    operand: Scalar


class Compares(msgspec.Struct, frozen=True):
    """The value at the path is of the operand's type, and more or less."""

    path: Path
    ordering: Ordering
    operand: Scalar


type Condition = Exists | EqualsAny | Differs | Compares
"""What a payload fulfils or not. A number among the operands is a float only where no 64-bit integer equals it."""
