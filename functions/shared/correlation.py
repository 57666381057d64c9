"""The id that a request, its queue messages, log lines and answer share.

API Gateway gives each request an id, which its access log has too. The id travels in a message attribute, so that the
consumer's log lines name it, and a header of the answer tells it to the sender.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

HEADER = "X-Request-Id"
ATTRIBUTE = "ai_usage_events.request"
ATTRIBUTE_BYTES = 128
"""What the attribute adds to a message as SQS counts it, at most."""

_VALID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # an id is logged, and a producer may set the attribute

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def begin(event: Mapping[str, Any]) -> str:
    """Returns the id of API Gateway's request, a new one if it has none, and keeps it for `current`."""
    given = (event.get("requestContext") or {}).get("requestId")
    request_id = given if isinstance(given, str) and _VALID.fullmatch(given) else str(uuid4())
    _current.set(request_id)
    return request_id


def answered(answer: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Adds the id to the headers of an answer for API Gateway."""
    answer["headers"] = {**answer["headers"], HEADER: request_id}
    return answer


def current() -> str | None:
    """Returns the id of the present request; None outside a request."""
    return _current.get()


def request_of(record: Mapping[str, Any]) -> str:
    """Returns the id of the request that a message is of; the message's own id if it came straight on the queue.

    Args:
        record: the message as Lambda passes it to the function.
    """
    given = record.get("messageAttributes", {}).get(ATTRIBUTE, {}).get("stringValue")
    return given if isinstance(given, str) and _VALID.fullmatch(given) else str(record["messageId"])


def invocation_of(context: object) -> str | None:
    """Returns Lambda's id of an invocation; None outside Lambda."""
    given = getattr(context, "aws_request_id", None)
    return given if isinstance(given, str) else None
