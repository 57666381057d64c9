"""Decides which events of a request are accepted, ignored and rejected."""

from collections.abc import Sequence
from itertools import count

import msgspec

from functions.ingest.contract import Answer, EventRejection
from functions.ingest.event.attributes import BaseAttributes, are_plain, array_of, attributes_in, content_of, longest_of
from functions.ingest.event.event import AcceptanceRules, read_attributes
from functions.ingest.event.ordinary import ordinary_ids
from functions.ingest.formats.adapter import Events
from functions.ingest.idempotency import IdempotentRequest
from functions.shared.rejection import Rejection

_READ_AT_ONCE = 100


class Judge(msgspec.Struct, frozen=True):
    """Judges the events of one request.

    Attributes:
        rules: the acceptance rules of the batch, which gains the accepted events.
        answer: gains the ids, and the events that are ignored and rejected.
        idempotent_request: gives ids to events without one; None if the request has no idempotency key.
        accepted: indexes of the accepted events in the request.
    """

    rules: AcceptanceRules
    answer: Answer
    idempotent_request: IdempotentRequest | None = None
    accepted: list[int] = msgspec.field(default_factory=list)

    def accepts_all(self, events: Events) -> bool:
        """Accepts the events of an array if all are ordinary plain events; returns whether they are."""
        return events.array is not None and self._accept(0, events.raw, events.array, longest_of(events.raw))

    def judge(self, events: Events) -> None:
        """Judges all events, one small group after another."""
        # Groups are small, so that an event that is not ordinary makes only its own group slow.
        for first in range(0, len(events.raw), _READ_AT_ONCE):
            some = events.raw[first : first + _READ_AT_ONCE]
            attributes: Sequence[BaseAttributes | None] = [None] * len(some)
            is_plain = False
            # A refused event may not be JSON. Decoding an event that is too large may take thirty times its size.
            is_refused = not events.refused.keys().isdisjoint(range(first, first + len(some)))
            longest = longest_of(some)
            if not is_refused and longest <= self.rules.max_event_bytes:
                array = array_of(some)
                if self._accept(first, some, array, longest):
                    continue
                attributes = attributes_in(array, len(some)) or attributes
                is_plain = are_plain(some, array, longest)
            for index, raw, own in zip(count(first), some, attributes, strict=False):
                self._judge_one(index, raw, own, events.refused.get(index), is_plain=is_plain)

    def _accept(self, first: int, events: Sequence[msgspec.Raw], array: bytes, longest: int) -> bool:
        """Accepts the events if they are all ordinary; returns whether they are.

        Args:
            first: index of the first event in the request.
            array: the events as a JSON array.
            longest: bytes of the longest event.
        """
        if self.idempotent_request is not None or longest > self.rules.max_event_bytes:
            return False
        ids = ordinary_ids(array, len(events), len(self.accepted), self.rules)
        if ids is None or not are_plain(events, array, longest):
            return False
        self.answer.ids[first : first + len(ids)] = ids
        self.rules.batch.events += events
        self.accepted.extend(range(first, first + len(ids)))
        return True

    def _judge_one(
        self,
        index: int,
        raw: msgspec.Raw,
        attributes: BaseAttributes | None,
        refusal: Rejection | None,
        *,
        is_plain: bool,
    ) -> None:
        """Judges the event at `index` of the request.

        Args:
            attributes: base attributes, if they could be decoded.
            refusal: why the event can't be read, if it can't.
            is_plain: whether the event can certainly be stored.
        """
        try:
            if refusal is not None:
                raise refusal
            if self.idempotent_request is not None:
                raw, attributes = self.idempotent_request.with_id(index, raw, attributes)
            event = read_attributes(raw, len(self.accepted), self.rules, attributes)
            if event is not None and not is_plain:
                content_of(raw)
        except Rejection as rejection:
            self.answer.rejected.append(EventRejection(index, rejection.code, rejection.message))
            return
        if event is None:
            self.answer.ignored += 1
        else:
            self.answer.ids[index] = event.id
            self.rules.batch.events.append(raw)
            self.accepted.append(index)
