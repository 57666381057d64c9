"""Limits how often strangers can cause work."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Allowance:
    """Limits how often an action is allowed: `max_at_once` times at once, then once per `seconds`.

    Attributes:
        max_at_once: number of actions allowed at once.
        seconds: time until one more action is allowed.
    """

    max_at_once: int
    seconds: float
    _left: float = field(init=False)
    _counted_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = self.max_at_once

    def take(self, now: float) -> bool:
        """Whether the action is allowed now; counts it if so."""
        earned = (now - self._counted_at) / self.seconds
        self._left = min(self.max_at_once, self._left + max(0.0, earned))
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
