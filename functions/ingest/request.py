"""An HTTP request as API Gateway passes it to the function."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from functions.shared.rejection import Rejection

EVENTS_PATH = "/v1/events"


class UnsupportedMediaType(Exception):
    """The content type of the body is not supported."""


class UnsupportedEncoding(UnsupportedMediaType):
    """The body is packed in a way that is not supported."""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request.

    Attributes:
        path: path of the route, without the stage.
        headers: headers by name in lower case.
        text: body text from API Gateway.
        is_base64: whether `text` is the body in base64.
    """

    path: str
    headers: Mapping[str, str]
    text: str
    is_base64: bool

    @property
    def body(self) -> bytes:
        """Returns the bytes of the body.

        Raises:
            Rejection: `text` is not base64 although the gateway marked it as base64 (`invalid_json`).
        """
        if not self.is_base64:
            return self.text.encode(errors="surrogatepass")
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Rejection(
                "invalid_json", "The gateway marked the body as base64, but the body is not base64."
            ) from error

    @property
    def media_type(self) -> str:
        """Returns the content type in lower case without parameters; empty if the request has none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def idempotency_key(self) -> str | None:
        """Returns the idempotency key, which a request and its repetitions share."""
        return self.headers.get("idempotency-key") or None


def read_request(event: Mapping[str, Any]) -> Request:
    """Reads a request from the event that API Gateway passes to the function."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items() if isinstance(value, str)}
    path = event.get("resource") or event.get("path") or EVENTS_PATH
    return Request(path, headers, event.get("body") or "", bool(event.get("isBase64Encoded")))
