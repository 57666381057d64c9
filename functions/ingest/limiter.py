"""Limits how many events a tenant may send by HTTPS in a minute and in a day.

Each instance of the function counts what it takes in. It adds that to a counter that all instances share, as soon as it
is a small part of the limit or a few seconds old. So the counter costs few calls, and knows nearly everything. See
docs/decisions/0007-tenant-limits.md.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from functions.ingest import intake_metrics
from functions.shared.grant import Grant
from functions.shared.tenant import tenant_group
from functions.shared.tenant_limits import MINUTE_SECONDS, TenantLimits

MAX_COUNTED_PERIODS = 20_000
"""Minutes and days of senders that an instance remembers; it forgets those that it has not needed for longest."""

REPORTED_SHARE = 200
"""An instance reports its events as soon as they are this part of the limit."""

REPORT_SECONDS = 10
"""An instance reports its events at the latest with the first request after this time."""


class TooManyEvents(Exception):
    """The tenant has sent as many events as it may; the message may be sent to the client.

    Args:
        group: the group of senders. See `tenant_group`.
        period: `minute` or `day`.
        seconds: time until the next period begins.
    """

    def __init__(self, group: str, period: str, seconds: int) -> None:
        super().__init__(f"The limit of events in a {period} is reached; send the request again after {seconds} s.")
        self.group = group
        self.retry_after = seconds


class Counter(Protocol):
    """Counts events across the instances of the function."""

    def add(self, group: str, begins: int, seconds: int, number: int) -> int | None:
        """Adds to the count of a group and period; returns the new count, None if it is not known."""


@dataclass(slots=True)
class _Period:
    """The events of a group in a minute or a day.

    Attributes:
        known: events of all instances, as of `asked_at`.
        unreported: events of this instance since then.
    """

    known: int = 0
    unreported: int = 0
    asked_at: float = -math.inf

    @property
    def events(self) -> int:
        return self.known + self.unreported

    def is_stale(self, limit: int, now: float) -> bool:
        """Whether the counter should be asked. There is no need to if the limit is known to be reached."""
        return self.known < limit and now - self.asked_at >= REPORT_SECONDS


@dataclass(slots=True)
class Limiter:
    """Counts the events of each group of senders, and refuses requests beyond the limits.

    Attributes:
        now: returns seconds since 1970.
    """

    limits: TenantLimits
    counter: Counter
    now: Callable[[], float] = time.time
    _periods: OrderedDict[tuple[str, int, int], _Period] = field(default_factory=OrderedDict)

    def require_room(self, grant: Grant) -> None:
        """Checks that the sender may send events now. A request is then taken in whole, however many events it has.

        Raises:
            TooManyEvents: a limit is reached.
        """
        group, now = tenant_group(grant), self.now()
        for seconds, limit in self.limits.of(group).windows():
            begins = int(now // seconds) * seconds
            period = self._period(group, seconds, begins)
            if period.is_stale(limit, now):
                self._report(period, group, begins, seconds, now)
            if period.events >= limit:
                name = "minute" if seconds == MINUTE_SECONDS else "day"
                raise TooManyEvents(group, name, max(1, math.ceil(begins + seconds - now)))

    def count(self, grant: Grant, events: int) -> None:
        """Counts events that were accepted."""
        group, now = tenant_group(grant), self.now()
        for seconds, limit in self.limits.of(group).windows():
            begins = int(now // seconds) * seconds
            period = self._period(group, seconds, begins)
            period.unreported += events
            if period.unreported * REPORTED_SHARE >= limit:
                self._report(period, group, begins, seconds, now)

    def _period(self, group: str, seconds: int, begins: int) -> _Period:
        key = (group, seconds, begins)
        period = self._periods.setdefault(key, _Period())
        self._periods.move_to_end(key)
        if len(self._periods) > MAX_COUNTED_PERIODS:
            self._periods.popitem(last=False)
        return period

    def _report(self, period: _Period, group: str, begins: int, seconds: int, now: float) -> None:
        """Adds this instance's events to the shared counter. If that fails, this instance counts them for itself.

        They are not added again: they may have been added.
        """
        total = self.counter.add(group, begins, seconds, period.unreported)
        if total is None:
            intake_metrics.count_uncounted(period.unreported)
        period.known = period.events if total is None else total
        period.unreported, period.asked_at = 0, now
