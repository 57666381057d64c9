"""Gives the events of a repeated request the same ids each time."""

from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.event.attributes import BaseAttributes, read_base_attributes
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

_IDS = uuid5(NAMESPACE_URL, "https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/")


class IdempotentRequest(msgspec.Struct, frozen=True):
    """A request with an idempotency key.

    Attributes:
        grant: the sender's grant.
        key: idempotency key. The sender uses the same key for a request and its repetitions only.
    """

    grant: Grant
    key: str

    def with_id(
        self, index: int, raw: msgspec.Raw, attributes: BaseAttributes | None
    ) -> tuple[msgspec.Raw, BaseAttributes | None]:
        """Returns the event at `index`, with an id added if it has none, and its base attributes if they can be read.

        An event that is too large is returned unread.

        The id derives from sender, key, index and the event's bytes, so two senders never share an id.
        """
        if len(raw) > MAX_EVENT_BYTES:
            return raw, None
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
    """Returns the event with `id` appended. The decoder takes the last of two `id` keys."""
    return msgspec.Raw(b'%b,"id":"%b"}' % (text[:-1], str(identifier).encode()))
