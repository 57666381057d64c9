"""Describes why an event can never be stored as sent."""

import json

_MAX_QUOTED_CHARACTERS = 60  # a request may hold 10,000 events, and Lambda limits a response to 6 MB


class Rejection(ValueError):
    """An event can't be stored; has a code for programs and a message for people.

    Args:
        code: stable identifier like `unknown_event`.
        message: one sentence that names the faulty attribute, without stack trace or SQL.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def quoted(value: object) -> str:
    """Returns a value as JSON has it, shortened for a message; a string in single quotes.

    >>> quoted({"a": True}), quoted("b")
    ('{"a": true}', "'b'")
    """
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):  # an integer of thousands of digits, a key that is no string
        text = f"a value of the type {type(value).__name__}"
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[: _MAX_QUOTED_CHARACTERS - 1] + "…"
