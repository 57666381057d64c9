"""A counter that several limiters share, without DynamoDB."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class CountedTogether:
    """The counter.

    Attributes:
        is_reachable: whether it answers.
        calls: how often it was asked.
    """

    is_reachable: bool = True
    calls: int = 0
    events: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def add(self, group: str, begins: int, seconds: int, number: int) -> int | None:
        """Adds to the count of a group and period, and returns the new count."""
        self.calls += 1
        if not self.is_reachable:
            return None
        self.events[group, begins, seconds] += number
        return self.events[group, begins, seconds]
