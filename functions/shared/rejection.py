"""Why an event can never be stored as it is."""


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
