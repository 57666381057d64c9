"""What a publisher sends events to, and what it is told of them."""

# Else Python imports it in the thread that first looks a host up, and a process forked meanwhile waits for it for ever.
import encodings.idna  # noqa: F401
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TIMEOUT_SECONDS = 10.0
_SERVER_ERROR = 500
_PASSING_STATUSES = frozenset({408, 425, 429})


class Unavailable(Exception):
    """Nothing is known to have arrived, but may if it is sent again.

    Args:
        code: a word for what was wrong, like `http_503`.
        reason: the same for people.
        retry_after: the seconds after which the other side wants it again.
    """

    def __init__(self, code: str, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after = retry_after


class Refused(Unavailable):
    """As `Unavailable`, but sending it again helps only if somebody mends the access or the address."""


class Unacceptable(Exception):
    """These events are not taken together; some of them may be, without the others.

    Args:
        code: a word for what is wrong with the event, where it is but one.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of events that were sent.

    Attributes:
        rejected: the code of each that was rejected for good.
        again: those that the other side wants to be sent again.
        again_code: why.
    """

    accepted: int = 0
    ignored: int = 0
    rejected: Sequence[str] = ()
    again: Sequence[bytes] = ()
    again_code: str = ""


class Sender(Protocol):
    """A connection to a destination, used by one thread."""

    def send(self, events: Sequence[bytes]) -> Sent:
        """Sends the events, each of which is JSON that SQS takes.

        Raises:
            Unavailable: they should be sent again.
            Unacceptable: they should be sent in parts.
        """

    def close(self) -> None:
        """Ends the connection; it is made anew where it is used again."""


class Destination(Protocol):
    """A place that events can be sent to."""

    @property
    def max_bytes(self) -> int:
        """Of the JSON array of the events that are sent at once."""

    def open(self) -> Sender:
        """A connection for the calling thread."""


def fault(status: int, code: str, reason: str, retry_after: float = 0) -> Unavailable:
    """What is to be raised for an HTTP status that says that nothing was taken."""
    is_passing = status >= _SERVER_ERROR or status in _PASSING_STATUSES
    return (Unavailable if is_passing else Refused)(code, reason, retry_after)
