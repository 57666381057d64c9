"""The scalar types `Date`, `Time`, `JSON` and `Long`."""

import math
import re
from datetime import date
from typing import Any

from ariadne import ScalarType
from graphql import GraphQLError, Undefined

from functions.graphql.query.days import FIRST_DAY, LAST_DAY
from functions.shared.catalog.payload import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER
from functions.shared.timestamp import format_timestamp

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MAX_SHOWN_CHARACTERS = 40


def parse_date(value: Any) -> date:
    """Parses a day, like `2026-11-20`.

    Raises:
        GraphQLError: the value is not a day, or the day is outside `FIRST_DAY` to `LAST_DAY`.
    """
    try:
        day = date.fromisoformat(value if _DAY.fullmatch(value) else "")
    except (TypeError, ValueError):
        excerpt = repr(value[:_MAX_SHOWN_CHARACTERS]) if isinstance(value, str) else "The value"
        raise GraphQLError(f"{excerpt} is not a day like 2026-11-20.") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise GraphQLError(f"{day} is out of range: days are from {FIRST_DAY} to {LAST_DAY}.")
    return day


def parse_json(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Checks a JSON value: null, a boolean, number or text, or a list or object of these.

    A variable without a value, inside a literal, becomes null in a list and is left out of an object.

    Raises:
        GraphQLError: no payload can hold the value.
    """
    if depth == 0:
        raise GraphQLError(f"JSON values may be nested at most {MAX_DEPTH} levels deep.")
    match value:
        case None | bool():
            return value
        case str() if "\0" not in value:
            return value
        case str():
            raise GraphQLError("JSON values must not contain the character U+0000.")
        case int() if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case int() | float():
            raise GraphQLError("Numbers in JSON values must be integers of 64 bits or finite doubles.")
        case list():
            return [None if item is Undefined else parse_json(item, depth - 1) for item in value]
        case dict():
            return {
                parse_json(key, depth): parse_json(item, depth - 1)
                for key, item in value.items()
                if item is not Undefined
            }
    raise GraphQLError("Variables in JSON values must have the type JSON, String, ID, Int, Float or Boolean.")


def _long(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a Long must be an integer")
    return value


SCALARS = (
    ScalarType("Date", serializer=date.isoformat, value_parser=parse_date),
    ScalarType("Time", serializer=format_timestamp),
    ScalarType("JSON", serializer=lambda value: value, value_parser=parse_json),
    ScalarType("Long", serializer=_long),
)
