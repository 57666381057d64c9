"""What an input format has to say of itself to be in the table of formats."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from functions.ingest.contract import Answer
from functions.ingest.request import EVENTS_PATH, Request
from functions.shared.rejection import Rejection


class Events(msgspec.Struct):
    """What a body holds, in its order.

    Attributes:
        raw: each event's JSON, as it came or, of a CloudEvent, as the event that it is here.
        refused: why some of them are none, by their position: a line that is no JSON, or an incomplete CloudEvent.
        array: the body, where it is an array of these very events.
    """

    raw: list[msgspec.Raw]
    refused: dict[int, Rejection] = {}
    array: bytes | None = None


def bearer_token(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers as they are: the token is in `authorization`."""
    return headers


def status_and_answer(answer: Answer) -> tuple[int, Any]:
    """The answer as it is, with its own status."""
    return answer.status, answer


class RequestFormat(NamedTuple):
    """How the events come in one kind of request.

    Attributes:
        takes: whether a request to `path` is of this kind.
        read: the events in the body of such a request, or why it holds none; raises `Rejection`, `TooLarge` or
            `UnsupportedMediaType`.
        path: of the route in infra/template.yaml, without the stage.
        credentials: the headers, by their names in lower case, with the token in `authorization`.
        answer: status and body by which the sender learns what became of its events.
    """

    takes: Callable[[Request], bool]
    read: Callable[[Request], Events]
    path: str = EVENTS_PATH
    credentials: Callable[[Mapping[str, str]], Mapping[str, str]] = bearer_token
    answer: Callable[[Answer], tuple[int, Any]] = status_and_answer


class EventFormat(NamedTuple):
    """How one kind of event is written, wherever it comes in a body.

    Attributes:
        may_be_in: whether a text may hold such events; soon said, for all others are asked for it too.
        as_plain_event: the event as it is here; another event as it is. Raises `Rejection`.
    """

    may_be_in: Callable[[bytes], bool]
    as_plain_event: Callable[[msgspec.Raw], msgspec.Raw]


class EnvelopeFormat(NamedTuple):
    """What a service of AWS wraps around a body that it puts on the queue.

    Attributes:
        mark: what is in every such envelope.
        content: the body within, and the envelope's own id; None where the text is something else.
    """

    mark: bytes
    content: Callable[[bytes], tuple[bytes, str] | None]
