"""Errors of reading events."""


class InvalidArgument(Exception):
    """An invalid argument; the message, meant for the client, names the argument and the reason."""


class QueryTooSlow(Exception):
    """The query exceeds its time or the store's memory.

    Args:
        days: number of days that the statement was about; 0 if unknown.
    """

    def __init__(self, days: int = 0) -> None:
        super().__init__(days)
        self.days = days


class AnswerTooLarge(Exception):
    """The answer has more bytes than can be sent; the message is for the client."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The answer has more than {limit:,} bytes: ask for fewer events or fields.")


class StoreUnavailable(Exception):
    """The store is unreachable or not ready."""


class TooManyQueries(Exception):
    """Other queries of the tenant hold all its query slots."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Too many queries of this token are running: at most {limit} run at once; try again.")
