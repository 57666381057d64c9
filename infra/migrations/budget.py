"""How long migrations may go on, and how they wait for locks."""

import random
import time
from collections.abc import Callable

import psycopg

LOCK_SECONDS = 2
"""Limits how long a migration waits for a lock, because senders and readers queue behind it."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10

_TIME_ENDED = "the time ended before all migrations were applied; the next deployment goes on"

_REPEATABLE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


class Unfinished(Exception):
    """The time ended before the migrations did; the next call goes on where this one stopped."""


class TimeBudget:
    """The time that is left for the migrations of one call.

    Args:
        seconds: time from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """Seconds that are left; 0 if none are."""
        return max(0.0, self._deadline - time.monotonic())

    def require(self) -> None:
        """Checks that time is left.

        Raises:
            Unfinished: none is.
        """
        if self.seconds <= 0:
            raise Unfinished(_TIME_ENDED)

    def retried[Result](self, work: Callable[[], Result]) -> Result:
        """Calls `work` until it gets its locks, with longer and longer pauses in which others get theirs.

        `work` must be repeatable, and its connection needs a `lock_timeout`.

        Raises:
            Unfinished: the time ended before.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self.require()
            try:
                return work()
            except Exception as error:
                cause = getattr(error, "orig", error)  # SQLAlchemy wraps psycopg's error
                if isinstance(cause, psycopg.errors.QueryCanceled) and self.seconds < 1:
                    raise Unfinished(_TIME_ENDED) from None
                if not isinstance(cause, _REPEATABLE):
                    raise
            time.sleep(min(pause, self.seconds) * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
