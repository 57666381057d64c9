"""Describes why an event can never be stored as sent."""

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
    """Returns the `repr` of `value`, shortened for a message."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[: _MAX_QUOTED_CHARACTERS - 1] + "…"
