"""Reads the events of batches step by step, so that PostgreSQL can work in the meantime."""

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import batched, repeat

import msgspec

from functions.ingest.erased import EventKey, key_of
from functions.ingest.event.attributes import BaseAttributes, attributes_of
from functions.ingest.event.event import AcceptanceRules, Event, acceptance_rules, read_attributes
from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.ingest.postgres.row import write_order_key
from functions.ingest.transform import Candidate, take_typed_payloads
from functions.ingest.typed_events import TypedEvents
from functions.shared.catalog.registry import Registry
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

_EVENTS_A_STEP = 100
"""One step takes about a millisecond."""

NONE_ERASED = frozenset[EventKey]()


class Reading:
    """The events of batches on their way to rows, as far as these need nothing from PostgreSQL.

    Args:
        erased: events to leave out, because their users or namespaces were erased.

    Attributes:
        candidates: the acceptable events.
        outcome: gains the events that are ignored and rejected.
        ignored: the events that are ignored, with their indexes and batches.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        registry: Registry,
        retention_months: int,
        erased: Set[EventKey] = NONE_ERASED,
    ) -> None:
        self._batches = batches
        self._registry = registry
        self._retention_months = retention_months
        self._erased = erased
        self._steps = self._read()
        self.candidates: list[Candidate] = []
        self.ignored: list[tuple[msgspec.Raw, int, Batch]] = []
        self.outcome = Outcome(erased=len(erased))

    def steps(self, typed: TypedEvents) -> Iterator[None]:
        """Reads some events for each item, then makes payloads of the typed pass ahead of time.

        Raises:
            Exception: reading failed. The events must be read anew.
        """
        yield from self._steps
        for some in batched(self.candidates, _EVENTS_A_STEP, strict=False):
            take_typed_payloads((one for one in some if not one.event.project.is_unidentified), typed)
            yield

    def finish(self) -> None:
        """Reads the events that are not read yet."""
        for _ in self._steps:
            pass

    def _read(self) -> Iterator[None]:
        senders: dict[Grant, Grant] = {}
        for batch in self._batches:
            sender = senders.setdefault(batch.sender, batch.sender)
            rules = acceptance_rules(batch, self._registry, self._retention_months)
            for some in batched(batch.indexed(), _EVENTS_A_STEP, strict=False):
                self._read_some(some, batch, sender, rules)
                yield

    def _read_some(
        self, events: Sequence[tuple[int, msgspec.Raw]], batch: Batch, sender: Grant, rules: AcceptanceRules
    ) -> None:
        read: Iterable[BaseAttributes | None] = (
            repeat(None) if batch.refused else attributes_of([raw for _, raw in events])
        )
        for (index, raw), attributes in zip(events, read, strict=False):
            if self._erased and key_of(batch, index) in self._erased:
                continue
            try:
                if index in batch.refused:
                    raise batch.refused[index]
                event = _read_event(raw, index, rules, attributes)
            except Rejection as rejection:
                self.outcome.reject(raw, index, batch, rejection)
                continue
            if event is None:
                self.outcome.ignored += 1
                self.ignored.append((raw, index, batch))
            else:
                write_order = write_order_key(event.timestamp, event.id)
                self.candidates.append(Candidate(batch, index, event, sender, write_order, event.explicit_path))


def _read_event(
    raw: msgspec.Raw, index: int, rules: AcceptanceRules, attributes: BaseAttributes | None
) -> Event | None:
    event = read_attributes(raw, index, rules, attributes)
    if event is None and (rules.batch.grant or rules.batch.replayed):
        raise Rejection(
            "unknown_event", "The consumer has no definition of the event, although the ingest function had one."
        )
    return event
