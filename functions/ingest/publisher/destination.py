"""The interface of destinations, and the outcomes that they report."""

# Imported here, because a process that forks while another thread imports it for a host lookup would wait for ever.
import encodings.idna  # noqa: F401
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TIMEOUT_SECONDS = 10.0
_SERVER_ERROR = 500
_PASSING_STATUSES = frozenset({408, 425, 429})


class Unavailable(Exception):
    """The events may not have arrived; sending them again may succeed.

    Args:
        code: short name of the failure, like `http_503`.
        reason: description for people.
        retry_after: seconds after which the server accepts another attempt.
    """

    def __init__(self, code: str, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after = retry_after


class Refused(Unavailable):
    """The events may not have arrived; sending again succeeds only after someone corrects the access or the address."""


class Unacceptable(Exception):
    """The events are not accepted together; smaller parts may be.

    Args:
        code: rejection code if it was a single event.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of sending events.

    Attributes:
        rejected: code of each event that was rejected for good.
        again: events to be sent again.
        again_code: reason for sending them again.
    """

    accepted: int = 0
    ignored: int = 0
    rejected: Sequence[str] = ()
    again: Sequence[bytes] = ()
    again_code: str = ""


class Sender(Protocol):
    """A connection to a destination, used by one thread."""

    def send(self, events: Sequence[bytes]) -> Sent:
        """Sends events, each of them JSON that SQS accepts.

        Raises:
            Unavailable: the events should be sent again.
            Unacceptable: the events should be sent in smaller parts.
        """

    def close(self) -> None:
        """Closes the connection. A later `send` opens it again."""


class Destination(Protocol):
    """A receiver of events."""

    @property
    def max_bytes(self) -> int:
        """Size limit of the JSON array of events that are sent together."""

    def open(self) -> Sender:
        """Returns a connection for the calling thread."""


def fault(status: int, code: str, reason: str, retry_after: float = 0) -> Unavailable:
    """Returns the exception for an HTTP status that means that no event was accepted."""
    is_passing = status >= _SERVER_ERROR or status in _PASSING_STATUSES
    return (Unavailable if is_passing else Refused)(code, reason, retry_after)
