"""Conditions on the value at a payload path, independent of the store.

Numbers compare as numbers, strings as strings, booleans as booleans. Values of different types are never equal, less
or greater. Null counts as missing. A missing value fulfils only `Exists(path, False)`.
"""

from collections.abc import Iterator
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


class Like(msgspec.Struct, frozen=True):
    """The value at the path is a string that matches a pattern.

    Attributes:
        pattern: `%` stands for any characters, `_` for one; a backslash precedes `%`, `_` and backslash themselves.
    """

    path: Path
    pattern: str


class StartsWith(msgspec.Struct, frozen=True):
    """The value at the path is a string that starts with the prefix."""

    path: Path
    prefix: str


class Contains(msgspec.Struct, frozen=True):
    """The value at the path is an array with an element that equals the operand."""

    path: Path
    operand: Scalar


class Not(msgspec.Struct, frozen=True):
    """The payload does not fulfil the condition."""

    condition: "Condition"


class AnyOf(msgspec.Struct, frozen=True):
    """The payload fulfils at least one of the conditions."""

    conditions: tuple["Condition", ...]


class AllOf(msgspec.Struct, frozen=True):
    """The payload fulfils all of the conditions."""

    conditions: tuple["Condition", ...]


type PathCondition = Exists | EqualsAny | Differs | Compares | Like | StartsWith | Contains
"""A condition on the value at a path. Operands that equal a 64-bit integer are int; only other numbers are float."""

type Condition = PathCondition | Not | AnyOf | AllOf
"""A condition on a payload."""


def path_conditions(condition: Condition) -> Iterator[PathCondition]:
    """Yields the conditions on paths that a condition consists of."""
    match condition:
        case Not(inner):
            yield from path_conditions(inner)
        case AnyOf(inner) | AllOf(inner):
            for each in inner:
                yield from path_conditions(each)
        case _:
            yield condition
