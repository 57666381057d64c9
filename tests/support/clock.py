"""The moment that tests use as the present, so that the end of a day or month during a test changes nothing."""

from datetime import UTC, datetime

NOW = datetime.now(UTC)


def now() -> datetime:
    """Returns the fixed present moment."""
    return NOW
