"""Why an event can never be stored as it is."""

_MAX_QUOTED_CHARACTERS = 60  # of 10,000 events a request: API Gateway and Lambda answer with no more than 6 MB


class Rejection(ValueError):
    """An event that is refused, with a code for programs and a message for people.

    Args:
        code: a word like `unknown_event`, stable.
        message: one sentence, naming the attribute at fault; never a stack trace or SQL.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def quoted(value: object) -> str:
    """`value` as a message shows it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else text[: _MAX_QUOTED_CHARACTERS - 1] + "…"
