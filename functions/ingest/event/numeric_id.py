"""Ids of users, namespaces and projects."""

from typing import Any

from functions.ingest.contract import MAX_ID
from functions.shared.catalog.payload import converter
from functions.shared.rejection import Rejection

_integer = converter(int)


def numeric_id(value: Any, attribute: str, code: str) -> int:
    """Returns an id, which may be a number or a text.

    >>> numeric_id("5", "user_id", "invalid_user")
    5

    Raises:
        Rejection: `value` is not a positive 64-bit integer. The rejection has this code.
    """
    if type(value) is int and 1 <= value <= MAX_ID:
        return value
    try:
        number = int(_integer(value))
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_ID:
        raise not_an_id(attribute, code)
    return number


def not_an_id(attribute: str, code: str) -> Rejection:
    """Returns the rejection of an attribute that is no id."""
    return Rejection(code, f"{attribute} must be a positive 64-bit integer.")
