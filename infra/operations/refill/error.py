"""The error that ends a refill."""


class RefillError(Exception):
    """The refill can't go on; the message says why. What it did before stays, and the next run goes on."""
