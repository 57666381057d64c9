"""The outcome of consuming messages."""

from dataclasses import dataclass, field

import msgspec

from functions.ingest.erased import EventKey, key_of
from functions.ingest.message.batch import Batch
from functions.ingest.postgres.events import RejectedRow
from functions.ingest.postgres.rejected_events import rejected_row
from functions.shared.rejection import Rejection


@dataclass(slots=True)
class Outcome:
    """The outcome of the events of some messages.

    Attributes:
        rejected_keys: keys of the rejected events, in the order of `rejected`.
        erased: events that were not stored, because their users or namespaces were erased after they were sent.
        partitions: names of missing partitions that were created.
    """

    rejected: list[RejectedRow] = field(default_factory=list)
    rejected_keys: list[EventKey] = field(default_factory=list)
    ignored: int = 0
    erased: int = 0
    accepted: int = 0
    stored: int = 0
    partitions: list[str] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """Number of events that were already stored."""
        return self.accepted - self.stored

    def reject(self, raw: msgspec.Raw, index: int, batch: Batch, rejection: Rejection) -> None:
        """Adds the event to the rejected events."""
        self.rejected.append(rejected_row(raw, index, batch, rejection))
        self.rejected_keys.append(key_of(batch, index))

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.rejected + other.rejected,
            self.rejected_keys + other.rejected_keys,
            self.ignored + other.ignored,
            self.erased + other.erased,
            self.accepted + other.accepted,
            self.stored + other.stored,
            self.partitions + other.partitions,
        )
