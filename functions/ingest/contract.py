"""The contract between producers and the server: event format, limits, and answers."""

from uuid import UUID

import msgspec

MAX_EVENT_BYTES = 64 * 1024
MAX_EVENTS = 10_000
MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID = 2**63 - 1
MAX_ID_DIGITS = len(str(MAX_ID))

_FIRST_BYTE_OF_NONCHARACTERS = b"\xef"  # UTF-8; searching for one byte is much faster than searching for several

type LooseId = int | float | str
"""The id of a user, a namespace or a project. `numeric_id` says which are valid."""


# `gc=False`: values decoded from JSON can't form reference cycles, so the garbage collector need not track them.
class User(msgspec.Struct, frozen=True, gc=False):
    """A user reference in an event."""

    id: LooseId
    username: str | None = None


class Namespace(msgspec.Struct, frozen=True, gc=False):
    """A namespace reference in an event. `path` is the traversal path, which ends with the namespace's own id."""

    path: str | None = None
    full_path: str | None = None
    id: LooseId | None = None


class Project(msgspec.Struct, frozen=True, gc=False):
    """A project reference in an event."""

    id: LooseId
    full_path: str | None = None
    namespace: Namespace | None = None


class EventRejection(msgspec.Struct):
    """Why the event at `index` of the request was rejected. If `retryable`, the same event may be sent again."""

    index: int
    code: str
    message: str
    retryable: bool = False


class Answer(msgspec.Struct):
    """The outcome of a request. `ids` has the stored id of each accepted event, and null for every other event."""

    accepted: int
    ignored: int
    rejected: list[EventRejection]
    ids: list[UUID | None]

    @property
    def status(self) -> int:
        """Returns the HTTP status: 202 if no event was rejected, 400 if all were, else 207."""
        if not self.rejected:
            return 202
        return 207 if self.accepted or self.ignored else 400


def without_noncharacters(body: bytes) -> bytes:
    """Returns `body` with U+FFFE and U+FFFF, which SQS refuses, written as JSON escapes."""
    if _FIRST_BYTE_OF_NONCHARACTERS not in body:
        return body
    return body.replace(b"\xef\xbf\xbe", rb"\ufffe").replace(b"\xef\xbf\xbf", rb"\uffff")
