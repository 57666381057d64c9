"""The publisher behind the module's functions, set by `configure` or the environment."""

import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Any

from functions.ingest.publisher.destination import Destination, Sender, Sent
from functions.ingest.publisher.https_destination import MAX_BODY_BYTES, HttpsDestination
from functions.ingest.publisher.limits import Limits
from functions.ingest.publisher.publisher import DEFAULT_LIMITS, FLUSH_SECONDS, Publisher
from functions.ingest.publisher.queue_destination import QueueDestination
from functions.ingest.publisher.stats import Stats

URL = "AI_USAGE_EVENTS_URL"
TOKEN = "AI_USAGE_EVENTS_TOKEN"  # noqa: S105 - the name of a variable
QUEUE_URL = "AI_USAGE_EVENTS_QUEUE_URL"

logger = logging.getLogger(__name__)

_made: dict[str, Publisher] = {}  # a dict, because `setdefault` is atomic: one of several threads is the first
_DEFAULT = "default"


class UnconfiguredDestination:
    """Rejects each event with `not_configured`, because the program has configured no destination."""

    max_bytes = MAX_BODY_BYTES

    def open(self) -> Sender:
        """Returns itself."""
        return self

    def send(self, events: Sequence[bytes]) -> Sent:
        """Rejects the events."""
        return Sent(rejected=["not_configured"] * len(events))

    def close(self) -> None:
        """Does nothing."""


def track_event(event: str, /, **attributes: Any) -> None:
    """Takes an event to be sent in the background; never raises. See `Publisher.track_event`."""
    _publisher().track_event(event, **attributes)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Sends all tracked events at once, and waits for at most `seconds`. See `Publisher.flush`."""
    return _publisher().flush(seconds)


def stats() -> Stats:
    """Returns the outcomes of the events tracked in this process since the last `configure`."""
    return _publisher().stats()


def configure(destination: Destination, limits: Limits = DEFAULT_LIMITS) -> None:
    """Sets the destination of events tracked from now on; earlier events still go to the earlier destination.

    Without this call, the environment decides: events go by HTTPS to `AI_USAGE_EVENTS_URL` with the token
    `AI_USAGE_EVENTS_TOKEN`, or to the queue `AI_USAGE_EVENTS_QUEUE_URL`. If it sets neither, each event is rejected.
    """
    _made[_DEFAULT] = Publisher(destination, limits)


def destination_of_environment() -> Destination:
    """Returns the destination that the environment sets.

    Raises:
        ValueError: the environment sets no destination, two, or a malformed one.
        ImportError: boto3, which the queue requires, is not installed.
    """
    url, token, queue_url = (os.environ.get(name, "").strip() for name in (URL, TOKEN, QUEUE_URL))
    if bool(url) == bool(queue_url):
        raise ValueError(f"Exactly one of {URL} and {QUEUE_URL} must be set.")
    if queue_url:
        return QueueDestination(queue_url)
    if not token:
        raise ValueError(f"{URL} needs {TOKEN}.")
    return HttpsDestination(url, token)


def _publisher() -> Publisher:
    publisher = _made.get(_DEFAULT)
    return publisher if publisher is not None else _made.setdefault(_DEFAULT, Publisher(_default_destination()))


def _default_destination() -> Destination:
    try:
        return destination_of_environment()
    except Exception as error:  # noqa: BLE001 - includes boto3's errors; tracking an event must not raise
        with contextlib.suppress(Exception):
            logger.warning("AI usage events are not sent: %s", error)
        return UnconfiguredDestination()
