"""The publisher that a program uses without making one: told by `configure`, or by the environment."""

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

_made: dict[str, Publisher] = {}  # a dict, because its `setdefault` lets one of several threads be the first
_DEFAULT = "default"


class UnconfiguredDestination:
    """The destination of a program that was not told any: each event is rejected, with `not_configured`."""

    max_bytes = MAX_BODY_BYTES

    def open(self) -> Sender:
        """Nothing."""
        return self

    def send(self, events: Sequence[bytes]) -> Sent:
        """Rejects them."""
        return Sent(rejected=["not_configured"] * len(events))

    def close(self) -> None:
        """Nothing is to be closed."""


def track_event(event: str, /, **attributes: Any) -> None:
    """Takes an event, to be sent in the background, and never raises: see `Publisher.track_event`."""
    _publisher().track_event(event, **attributes)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Has what was tracked until now sent at once, and waits for it at most so long: see `Publisher.flush`."""
    return _publisher().flush(seconds)


def stats() -> Stats:
    """What became of the events that were tracked, in this process, since the last `configure`."""
    return _publisher().stats()


def configure(destination: Destination, limits: Limits = DEFAULT_LIMITS) -> None:
    """Says where events go from now on; those of before still go where they were to go.

    Without it, they go by HTTPS to `AI_USAGE_EVENTS_URL`, with the token `AI_USAGE_EVENTS_TOKEN`, or to the queue
    `AI_USAGE_EVENTS_QUEUE_URL`. Where the environment says neither, each event is rejected.
    """
    _made[_DEFAULT] = Publisher(destination, limits)


def destination_of_environment() -> Destination:
    """Where the environment says that events go.

    Raises:
        ValueError: it says no place, two, or none that can be one.
        ImportError: boto3 is not installed, which the queue needs.
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
    except Exception as error:  # noqa: BLE001 - of boto3's, too: whoever tracks an event hears of none
        with contextlib.suppress(Exception):
            logger.warning("AI usage events are not sent: %s", error)
        return UnconfiguredDestination()
