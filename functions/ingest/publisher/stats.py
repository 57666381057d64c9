"""The outcomes of the events given to a publisher."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_MAX_REASONS = 100  # servers choose the codes, which must not fill the memory
_MAX_REASON_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of events by outcome. Their sum is the number of `track_event` calls.

    Attributes:
        accepted: accepted by the API or the queue.
        ignored: internal events that no definition names.
        rejected: events that can't be stored as they are.
        lost: events that are not known to have arrived and are not retried.
        waiting: events still to be sent, including retries.
        reasons: counts of rejected and lost events by code, like `unknown_event`, `not_json` or `buffer_full`.
    """

    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    lost: int = 0
    waiting: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Returns the number of events that no longer wait."""
        return self.accepted + self.ignored + self.rejected + self.lost

    def plus(self, other: "Stats") -> "Stats":
        """Returns the sum of both."""
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
