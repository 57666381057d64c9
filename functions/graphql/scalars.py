"""The scalars of the schema."""

from datetime import date
from typing import Any

from ariadne import ScalarType
from graphql import GraphQLError

from functions.shared.timestamp import format_timestamp


def parse_date(value: Any) -> date:
    """A day as GraphQL clients write it.

    Raises:
        GraphQLError: it is none.
    """
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise GraphQLError(f"{value!r} is no day, like 2026-11-20.") from None


SCALARS = (
    ScalarType("Date", serializer=date.isoformat, value_parser=parse_date),
    ScalarType("Time", serializer=format_timestamp),
    ScalarType("JSON", serializer=lambda value: value),
)
