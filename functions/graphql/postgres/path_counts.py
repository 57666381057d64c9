"""`PathCounts`: remembers which namespaces have events of few paths, so that not every page has to ask first."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

MAX_REMEMBERED = 1000
_SECONDS = 60


class Paths(NamedTuple):
    """Whose paths are counted: those of events in these namespaces, from the month until the end."""

    namespaces: tuple[str, ...]
    first_month: datetime
    end: datetime


class PathCounts:
    """Remembers for a minute whether there are few paths.

    The answer only decides how a page is read: both ways find the same events.

    Args:
        now: returns seconds, which never decrease.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[Paths, tuple[float, bool]] = {}

    def are_few(self, paths: Paths) -> bool | None:
        """Whether there are few paths; None if that is not known."""
        counted_at, few = self._known.get(paths, (float("-inf"), None))
        return few if self._now() - counted_at < _SECONDS else None

    def remember(self, paths: Paths, *, few: bool) -> None:
        """Remembers whether there are few paths."""
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[paths] = (self._now(), few)
