"""Quantiles of times, as a store answers them."""

import math

_MICROSECONDS = 1_000_000


def seconds(microseconds: float | None) -> float | None:
    """A time in seconds, to the microsecond; None for no time, for which a store answers None or NaN."""
    if microseconds is None or math.isnan(microseconds):
        return None
    return round(microseconds) / _MICROSECONDS
