"""How much a publisher holds, and how long it goes on trying."""

from dataclasses import dataclass, fields

from functions.ingest.contract import MAX_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a publisher.

    Args:
        batch_events: how many events are sent at once, at most 10,000.
        batch_seconds: how long an event waits for others to be sent with.
        buffer_bytes: of the events that wait or are being sent; those that find no room are lost.
        give_up_seconds: for how long a batch that the other side can't take is tried again.
        first_pause_seconds: the longest pause after a first failure; it doubles with each further one.
        longest_pause_seconds: that a pause has. Each is of a random length below its longest.
        exit_seconds: for how long the end of the process waits until the events are sent.

    Raises:
        ValueError: one of them is out of range.
    """

    batch_events: int = 1_000
    batch_seconds: float = 1.0
    buffer_bytes: int = 16 * 1024 * 1024
    give_up_seconds: float = 300.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    exit_seconds: float = 5.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) >= 0:  # as it is not of what is no number, either
                raise ValueError(f"{limit.name} must not be negative.")
        if not 1 <= self.batch_events <= MAX_EVENTS:
            raise ValueError(f"batch_events must be from 1 to {MAX_EVENTS}.")
