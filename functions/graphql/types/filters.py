"""Converts the argument `payload`, filters of the type `PayloadFilter`, to conditions."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    Ordering,
    StartsWith,
    path_conditions,
)
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path, read_path
from functions.graphql.query.scalar import Scalar, stored_number
from functions.shared.catalog.payload import MAX_INTEGER, MAX_PAYLOAD_BYTES, MIN_INTEGER

MAX_FILTERS = 20
MAX_VALUES = 1000  # values of one `in`
MAX_STEPS = 1000  # steps of all paths, counted once for each operator: as many as ClickHouse can parse

# Bytes of the strings of one `in`. ClickHouse takes values of up to 128 KiB, in which some characters are escaped.
MAX_STRING_BYTES = 64 * 1024

# Names of the operators, by the keys that resolvers get.
_OPERATORS = {name: name for name in ("eq", "ne", "gt", "gte", "lt", "lte", "in")}
_OPERATORS |= {"not_in": "notIn", "like": "like", "starts_with": "startsWith", "contains": "contains"}
_OPERATORS |= {"exists": "exists"}
_COMBINING = ("not", "any", "all")
_LONE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\(?![%_\\])")
_ORDERINGS = {
    "gt": Ordering.GREATER,
    "gte": Ordering.GREATER_OR_EQUAL,
    "lt": Ordering.LESS,
    "lte": Ordering.LESS_OR_EQUAL,
}


def conditions(filters: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """The conditions of the filters; a payload must fulfil all.

    Args:
        filters: inputs of the type `PayloadFilter` with their keys in snake_case, without the operators that the client
            did not give.

    Raises:
        InvalidArgument: a path or operand is invalid, or a limit is exceeded.
    """
    count = sum(map(_count, filters))
    if count > MAX_FILTERS:
        raise InvalidArgument(f"payload takes at most {MAX_FILTERS} filters, not {count}.")
    found = tuple(condition for each in filters for condition in _conditions_of(each))
    check_steps("payload", found)
    return found


def text_operand(name: str, text: str) -> str:
    """Checks a text that the argument `name` compares with a payload's.

    Raises:
        InvalidArgument: no payload can hold the text.
    """
    return _text(name, text)


def check_steps(argument: str, found: Iterable[Condition]) -> None:
    """Checks how many steps the paths of all conditions have.

    Raises:
        InvalidArgument: there are more than `MAX_STEPS`.
    """
    steps = sum(len(one.path) for condition in found for one in path_conditions(condition))
    if steps > MAX_STEPS:
        raise InvalidArgument(f"{argument}: the paths have at most {MAX_STEPS:,} steps in all, not {steps:,}.")


def _count(payload_filter: Mapping[str, Any]) -> int:
    """The number of filters that a filter consists of."""
    within = [payload_filter.get("not"), *(payload_filter.get("any") or ()), *(payload_filter.get("all") or ())]
    return 1 + sum(_count(inner) for inner in within if inner is not None)


def _conditions_of(payload_filter: Mapping[str, Any]) -> list[Condition]:
    given = [(name, payload_filter[key]) for key, name in _OPERATORS.items() if key in payload_filter]
    combining = [name for name in _COMBINING if payload_filter.get(name) is not None]
    if not given and not combining:
        raise InvalidArgument(
            f"payload: a filter needs at least one of {', '.join([*_OPERATORS.values(), *_COMBINING])}."
        )
    found = [_combined(name, payload_filter[name]) for name in combining]
    if not given:
        return found
    if payload_filter.get("path") is None:
        raise InvalidArgument(f"payload: a filter with {given[0][0]} needs a path.")
    try:
        path = read_path(payload_filter["path"])
    except ValueError as error:
        raise InvalidArgument(f"payload: {error}") from None
    return [condition for name, operand in given for condition in _of_operator(path, name, operand)] + found


def _combined(name: str, given: Any) -> Condition:
    if name == "not":
        return Not(AllOf(tuple(_conditions_of(given))))
    filters = tuple(AllOf(tuple(_conditions_of(each))) for each in given)
    return AnyOf(filters) if name == "any" else AllOf(filters)


def _of_operator(path: Path, operator: str, operand: Any) -> list[Condition]:
    if operator == "notIn":
        return [Exists(path, exists=True), Not(EqualsAny(path, _operands("notIn", operand)))]
    return [_condition(path, operator, operand)]


def _condition(path: Path, operator: str, operand: Any) -> Condition:
    if operator == "exists":
        if not isinstance(operand, bool):
            raise InvalidArgument("payload: exists must be true or false.")
        return Exists(path, operand)
    if operator == "in":
        return EqualsAny(path, _operands("in", operand))
    if operator in ("like", "startsWith"):
        if not isinstance(operand, str):
            raise InvalidArgument(f"payload: {operator} must be a string.")
        text = _text(operator, operand)
        return StartsWith(path, text) if operator == "startsWith" else Like(path, _pattern(text))
    scalar = _scalar(operator, operand)
    if operator == "eq":
        return EqualsAny(path, (scalar,))
    if operator == "contains":
        return Contains(path, scalar)
    if operator == "ne":
        return Differs(path, scalar)
    return Compares(path, _ORDERINGS[operator], scalar)


def _operands(operator: str, operands: Any) -> tuple[Scalar, ...]:
    if not isinstance(operands, list):
        raise InvalidArgument(f"payload: {operator} must be a list.")
    if len(operands) > MAX_VALUES:
        raise InvalidArgument(f"payload: {operator} takes at most {MAX_VALUES:,} values, not {len(operands):,}.")
    scalars = tuple(_scalar(operator, operand) for operand in operands)
    if sum(len(scalar.encode()) for scalar in scalars if isinstance(scalar, str)) > MAX_STRING_BYTES:
        raise InvalidArgument(f"payload: {operator} takes strings of at most {MAX_STRING_BYTES:,} bytes in all.")
    return scalars


def _pattern(text: str) -> str:
    """The pattern of `like`, in which each backslash must precede a character that it makes literal."""
    if _LONE_BACKSLASH.search(text):
        raise InvalidArgument("payload: in like, a backslash must stand before %, _ or another backslash.")
    return text


def _scalar(operator: str, operand: Any) -> Scalar:
    if operand is None:
        raise InvalidArgument(f"payload: {operator} can't be null; use exists: false to find null and missing values.")
    if isinstance(operand, bool):
        return operand
    if isinstance(operand, str):
        return _text(operator, operand)
    if isinstance(operand, int | float):
        return _number(operator, operand)
    raise InvalidArgument(f"payload: {operator} takes a string, number or boolean, not an array or object.")


def _text(operator: str, text: str) -> str:
    try:
        if len(text.encode()) > MAX_PAYLOAD_BYTES:
            raise InvalidArgument(
                f"payload: {operator} is longer than any payload: at most {MAX_PAYLOAD_BYTES:,} bytes."
            )
    except UnicodeEncodeError:
        raise InvalidArgument(f"payload: {operator} contains half a surrogate pair; no payload does.") from None
    if "\0" in text:
        raise InvalidArgument(f"payload: {operator} contains U+0000; no payload does.")
    return text


def _number(operator: str, number: int | float) -> int | float:
    """The number, as an int if it equals a 64-bit integer."""
    if isinstance(number, int):
        if not MIN_INTEGER <= number <= MAX_INTEGER:
            raise InvalidArgument(f"payload: {operator} has a number that does not fit in 64 bits.")
        return number
    if not math.isfinite(number):
        raise InvalidArgument(f"payload: {operator} has a number that does not fit in a double.")
    stored = stored_number(number)
    return int(stored) if MIN_INTEGER <= stored <= MAX_INTEGER and stored == int(stored) else number
