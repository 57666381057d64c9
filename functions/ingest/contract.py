"""What producers and the server agree on: how events are written, their limits, and what the server answers."""

from typing import Annotated
from uuid import UUID

import msgspec

MAX_EVENT_BYTES = 64 * 1024
MAX_EVENTS = 10_000
MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID = 2**63 - 1
MAX_ID_DIGITS = len(str(MAX_ID))

_FIRST_BYTE_OF_NONCHARACTERS = b"\xef"  # in UTF-8; one byte is found far faster than several

type UserId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
type LooseId = int | float | str


# Without `gc`, for what JSON holds refers to nothing around it: there are no cycles to look for.
class User(msgspec.Struct, frozen=True, gc=False):
    """The user as an event names it."""

    id: UserId
    username: str | None = None


class Namespace(msgspec.Struct, frozen=True, gc=False):
    """A namespace as an event names it: `path` is the traversal path, whose last id is its own."""

    path: str | None = None
    full_path: str | None = None
    id: LooseId | None = None


class Project(msgspec.Struct, frozen=True, gc=False):
    """A project as an event names it."""

    id: LooseId
    full_path: str | None = None
    namespace: Namespace | None = None


class EventRejection(msgspec.Struct):
    """Why the event at `index` of the request was not accepted; a `retryable` one may be sent again as it is."""

    index: int
    code: str
    message: str
    retryable: bool = False


class Answer(msgspec.Struct):
    """What became of each event of a request; `ids` has null for those that were not accepted."""

    accepted: int
    ignored: int
    rejected: list[EventRejection]
    ids: list[UUID | None]

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        if not self.rejected:
            return 202
        return 207 if self.accepted or self.ignored else 400


def without_noncharacters(body: bytes) -> bytes:
    """`body` with U+FFFE and U+FFFF, which SQS refuses, as JSON's escapes."""
    if _FIRST_BYTE_OF_NONCHARACTERS not in body:
        return body
    return body.replace(b"\xef\xbf\xbe", rb"\ufffe").replace(b"\xef\xbf\xbf", rb"\uffff")
