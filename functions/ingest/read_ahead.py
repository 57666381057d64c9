"""Reads the next messages while PostgreSQL works on those before."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from functions.ingest.message.batch import Batch
from functions.ingest.pipeline import Consumer
from functions.ingest.reading import Reading


class Message(NamedTuple):
    """A message of the queue with its number of deliveries and its batch."""

    id: str
    deliveries: int
    batch: Batch


class Upcoming(Enum):
    """What reading the next message may take."""

    SHORT = auto()
    LONG = auto()


@dataclass
class Group:
    """Messages to consume together.

    Attributes:
        reading: their events; None if reading them failed.
    """

    messages: list[Message]
    reading: Reading | None = None


class ReadAhead:
    """Reads groups of messages, one group ahead.

    Args:
        groups: yields what comes before it reads a message, and yields each group once it is complete.
    """

    def __init__(self, groups: Iterator[Upcoming | list[Message]], consumer: Consumer) -> None:
        self._groups = groups
        self._consumer = consumer
        self._group: Group | None = None
        self._failure: Exception | None = None

    def steps(self) -> Iterator[None]:
        """Reads a part of the next group for each item. Messages that may take long to read are left for later."""
        try:
            yield from self._read_messages()
        except Exception as error:  # noqa: BLE001 - no step may raise
            self._failure = error
            return
        try:
            if self._group is not None:
                reading = self._consumer.reading([message.batch for message in self._group.messages])
                yield from reading.steps(self._consumer.typed)
                self._group.reading = reading
        except Exception:  # noqa: BLE001 - the failure is found again, and logged, when the group is consumed
            return

    def next_group(self) -> Group | None:
        """Returns the next group; None if there is none.

        Raises:
            Exception: `groups` raised it, maybe while a step was made.
        """
        if self._failure is not None:
            raise self._failure
        if self._group is None:
            for _ in self._read_messages(reads_long=True):
                pass
        group, self._group = self._group, None
        return group

    @property
    def messages(self) -> int:
        """Number of the messages that were read ahead and not handed out."""
        return len(self._group.messages) if self._group else 0

    def _read_messages(self, *, reads_long: bool = False) -> Iterator[None]:
        for upcoming in self._groups:
            if isinstance(upcoming, list):
                self._group = Group(upcoming)
                return
            if upcoming is Upcoming.LONG and not reads_long:
                return
            yield
