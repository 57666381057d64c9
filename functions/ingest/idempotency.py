"""Requests that may be sent again: their events get the same ids each time."""

from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from functions.ingest.event.attributes import BaseAttributes, read_base_attributes
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

_IDS = uuid5(NAMESPACE_URL, "https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/")


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that may be sent again.

    Attributes:
        grant: its sender's.
        key: what the sender says is the same for the request and its repetitions, and for no other request.
    """

    grant: Grant
    key: str

    def with_id(
        self, index: int, raw: msgspec.Raw, attributes: BaseAttributes | None
    ) -> tuple[msgspec.Raw, BaseAttributes | None]:
        """The event at `index`, given an id if it has none, and its base attributes where they can be read.

        The id is made of the sender, the key, the index and the event's bytes, so that two senders never share one.
        """
        try:
            attributes = attributes or read_base_attributes(raw)
        except Rejection:
            return raw, None
        if attributes.id is None:
            text = bytes(raw).strip()
            name = msgspec.json.encode([self.grant.issuer, self.grant.sub, self.key, index]) + text
            attributes.id = uuid5(_IDS, name)
            raw = _with_id(text, attributes.id)
        return raw, attributes


def _with_id(text: bytes, identifier: UUID) -> msgspec.Raw:
    """The event, a JSON object that is not empty, with its id at the end: where there are two, the last one counts."""
    return msgspec.Raw(b'%b,"id":"%b"}' % (text[:-1], str(identifier).encode()))
