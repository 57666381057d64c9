"""Posts JSON to the API."""

import http.client
import urllib.error
import urllib.request
from typing import Any

import msgspec

_TIMEOUT_SECONDS = 30  # the API answers within 29 s
_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_REASON_CHARACTERS = 300


class Unanswered(Exception):
    """The request failed; the message says why."""


def post(url: str, body: Any, token: str | None = None, form: bytes | None = None) -> dict[str, Any]:
    """Returns the object that a server answers.

    Args:
        body: content to send as JSON, unless there is a form.
        form: an encoded form to send instead.

    Raises:
        Unanswered: the server can't be reached, refused the request, or answered something else.
    """
    headers = {"Content-Type": "application/json" if form is None else "application/x-www-form-urlencoded"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = msgspec.json.encode(body) if form is None else form
    request = urllib.request.Request(url, content, headers)  # noqa: S310 - the address is a setting, which is checked
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            return msgspec.json.decode(response.read(_MAX_ANSWER_BYTES), type=dict[str, Any])
    except urllib.error.HTTPError as error:
        excerpt = error.read(_MAX_REASON_CHARACTERS).decode(errors="replace")
        raise Unanswered(f"{error.code} {error.reason}: {excerpt}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unanswered("the answer is no JSON object") from error
