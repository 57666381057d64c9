"""The types that describe an input format in the table of formats."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from functions.ingest.contract import Answer
from functions.ingest.request import EVENTS_PATH, Request
from functions.shared.rejection import Rejection


class Events(msgspec.Struct):
    """The events of a body, in order.

    Attributes:
        raw: JSON of each event; CloudEvents are converted to plain events.
        refused: rejections by index, for example of a line that is not JSON.
        array: the body, if it is an array of exactly these events.
    """

    raw: list[msgspec.Raw]
    refused: dict[int, Rejection] = {}
    array: bytes | None = None


def bearer_token(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the headers unchanged: the token is in `authorization`."""
    return headers


def status_and_answer(answer: Answer) -> tuple[int, Any]:
    """Returns the answer unchanged, with its own status."""
    return answer.status, answer


class RequestFormat(NamedTuple):
    """How one kind of request contains events.

    Attributes:
        takes: whether a request to `path` is of this kind.
        read: returns the events in the request's body; raises `Rejection`, `TooLarge` or `UnsupportedMediaType`.
        path: path of the route in infra/template.yaml, without the stage.
        credentials: returns the headers, by name in lower case, with the token in `authorization`.
        answer: returns status and body of the answer.
    """

    takes: Callable[[Request], bool]
    read: Callable[[Request], Events]
    path: str = EVENTS_PATH
    credentials: Callable[[Mapping[str, str]], Mapping[str, str]] = bearer_token
    answer: Callable[[Answer], tuple[int, Any]] = status_and_answer


class EventFormat(NamedTuple):
    """How one kind of event is written, in any body.

    Attributes:
        may_be_in: whether a text may contain such events. Must be fast, because it runs for every body.
        as_plain_event: converts such an event to a plain event; returns any other event unchanged. Raises `Rejection`.
    """

    may_be_in: Callable[[bytes], bool]
    as_plain_event: Callable[[msgspec.Raw], msgspec.Raw]


class EnvelopeFormat(NamedTuple):
    """An envelope in which an AWS service wraps a body.

    Attributes:
        mark: bytes that every such envelope contains.
        content: returns the inner body and the envelope's id; None if the text is not such an envelope.
    """

    mark: bytes
    content: Callable[[bytes], tuple[bytes, str] | None]
