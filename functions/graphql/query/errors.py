"""What is said of an argument that can't be used."""


class InvalidArgument(Exception):
    """An argument of a query is not usable; the message says which and why, for the client."""
