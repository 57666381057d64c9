"""What is said of an argument that can't be used."""


class InvalidArgument(Exception):
    """An argument of a query is not usable; the message says which and why, for the client."""


class QueryTooSlow(Exception):
    """A query takes more time than it may."""


class StoreUnavailable(Exception):
    """The store can't be reached, or does not answer as it should."""


class TooManyQueries(Exception):
    """Other queries of the same tenant take all of its slots."""

    def __init__(self, most: int) -> None:
        super().__init__(f"There are too many queries of this token at once: at most {most} are worked on; try again.")
