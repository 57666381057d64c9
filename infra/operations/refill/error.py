"""The error that ends a refill."""


class RefillError(Exception):
    """The database can't be refilled as it is; the message says why, and nothing was changed."""
