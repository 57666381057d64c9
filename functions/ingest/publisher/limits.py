"""The limits of a publisher's memory and retries."""

from dataclasses import dataclass, fields

from functions.ingest.contract import MAX_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a publisher.

    Args:
        batch_events: maximum number of events that are sent together, at most 10,000.
        batch_seconds: how long an event waits for others to be sent with.
        buffer_bytes: size limit of the events that wait or are being sent; further events are lost.
        give_up_seconds: how long the publisher retries a batch that the server can't accept.
        first_pause_seconds: upper limit of the pause after the first failure; doubles with each further failure.
        longest_pause_seconds: upper limit of all pauses. Each pause has a random length below its upper limit.
        exit_seconds: how long the process waits at its end for events to be sent.

    Raises:
        ValueError: a limit is out of range.
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
            if not getattr(self, limit.name) >= 0:  # also true for NaN
                raise ValueError(f"{limit.name} must not be negative.")
        if not 1 <= self.batch_events <= MAX_EVENTS:
            raise ValueError(f"batch_events must be from 1 to {MAX_EVENTS}.")
