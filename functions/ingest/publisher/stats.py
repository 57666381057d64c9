"""What became of the events that were given to a publisher."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_MAX_REASONS = 100  # the codes come from elsewhere: they must not fill the memory
_MAX_REASON_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How many events there were of each fate; together as many as calls of `track_event`.

    Attributes:
        accepted: taken in by the API or the queue.
        ignored: internal events that no definition names.
        rejected: that can never be stored as they are.
        lost: not known to have arrived, and not tried any more.
        waiting: to be sent, or to be sent again.
        reasons: how many were rejected or lost by each code, like `unknown_event`, `not_json` or `buffer_full`.
    """

    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    lost: int = 0
    waiting: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """All that do not wait."""
        return self.accepted + self.ignored + self.rejected + self.lost

    def plus(self, other: "Stats") -> "Stats":
        """The sum of both."""
        reasons = Counter(self.reasons)
        for reason, count in other.reasons.items():
            code = reason[:_MAX_REASON_CHARACTERS]
            reasons[code if code in reasons or len(reasons) < _MAX_REASONS else "other"] += count
        return Stats(
            accepted=self.accepted + other.accepted,
            ignored=self.ignored + other.ignored,
            rejected=self.rejected + other.rejected,
            lost=self.lost + other.lost,
            waiting=self.waiting + other.waiting,
            reasons=dict(reasons),
        )
