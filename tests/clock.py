"""The moment that tests take for the present, so that it does not matter whether a day or a month ends meanwhile."""

from datetime import UTC, datetime

NOW = datetime.now(UTC)


def now() -> datetime:
    """The present moment, whenever it is asked for."""
    return NOW
