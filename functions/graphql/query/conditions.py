"""Conditions on the value at a payload path, independent of the store.

Numbers compare as numbers, strings as strings, booleans as booleans. Values of different types are never equal, less
or greater. Null counts as missing. A missing value fulfils only `Exists(path, False)`.
"""

from enum import StrEnum

import msgspec

from functions.graphql.query.path import Path
from functions.graphql.query.scalar import Scalar


class Ordering(StrEnum):
    """Comparison operators, in SQL's spelling."""

    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    LESS = "<"
    LESS_OR_EQUAL = "<="


class Exists(msgspec.Struct, frozen=True):
    """The path has a value, or has none."""

    path: Path
    exists: bool


class EqualsAny(msgspec.Struct, frozen=True):
    """The value at the path equals one of the operands."""

    path: Path
    operands: tuple[Scalar, ...]


class Differs(msgspec.Struct, frozen=True):
    """The path has a value, and the value does not equal the operand."""

    path: Path
    operand: Scalar


class Compares(msgspec.Struct, frozen=True):
    """The value at the path has the operand's type, and is greater or less as `ordering` says."""

    path: Path
    ordering: Ordering
    operand: Scalar


class EqualsNone(msgspec.Struct, frozen=True):
    """The path has no value, or one that equals none of the operands."""

    path: Path
    operands: tuple[Scalar, ...]


type Condition = Exists | EqualsAny | EqualsNone | Differs | Compares
"""A condition on a payload. Operands that equal a 64-bit integer are int; only other numbers are float."""
