"""A request as API Gateway hands it over."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from functions.shared.rejection import Rejection

EVENTS_PATH = "/v1/events"


class UnsupportedMediaType(Exception):
    """The body is of a type that holds no events."""


class Request(msgspec.Struct, frozen=True):
    """What there is to know of a request.

    Attributes:
        path: of the route, without the stage.
        headers: by their names in lower case.
        text: of the body, as the gateway hands it over.
        is_base64: whether the text is not the body itself but base64.
    """

    path: str
    headers: Mapping[str, str]
    text: str
    is_base64: bool

    @property
    def body(self) -> bytes:
        """What was sent, as far as the gateway lets it be known.

        Raises:
            Rejection: it is not base64, though the gateway says so.
        """
        if not self.is_base64:
            return self.text.encode(errors="surrogatepass")
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Rejection("invalid_json", "The body is not base64, though the gateway says so.") from error

    @property
    def media_type(self) -> str:
        """What the body is said to be, in lower case, without parameters; empty where nothing is said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def idempotency_key(self) -> str | None:
        """What is the same for a request and its repetitions."""
        return self.headers.get("idempotency-key") or None


def read_request(event: Mapping[str, Any]) -> Request:
    """The request in what API Gateway hands to a function."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items() if isinstance(value, str)}
    path = event.get("resource") or event.get("path") or EVENTS_PATH
    return Request(path, headers, event.get("body") or "", bool(event.get("isBase64Encoded")))
