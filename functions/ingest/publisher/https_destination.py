"""Sends events to the API by HTTPS."""

import http.client
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import msgspec

from functions.ingest.contract import Answer
from functions.ingest.publisher.destination import TIMEOUT_SECONDS, Sender, Sent, Unacceptable, Unavailable, fault

MAX_BODY_BYTES = 1024 * 1024  # API Gateway accepts 10 MB, but passes at most 6 MB, escapes included, to a function
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_EVENTS_PATH = "/v1/events"
_UNACCEPTABLE = frozenset({400, 413})


@dataclass(frozen=True, slots=True)
class HttpsDestination:
    """The API, reached by HTTPS.

    Args:
        api_url: URL of the API, like `https://events.example.com`; events are posted to `/v1/events` below it.
        token: token with the scope `events:write` or `events:write:own`, or a function that returns one per request.
        timeout_seconds: limit for connecting, and for each wait for the answer.

    Raises:
        ValueError: the URL or the token is malformed.
    """

    api_url: str
    token: str | Callable[[], str] = field(repr=False)
    timeout_seconds: float = TIMEOUT_SECONDS
    max_bytes: int = field(default=MAX_BODY_BYTES, init=False)

    def __post_init__(self) -> None:
        url = urlsplit(self.api_url)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise ValueError(f"The API's URL must be like https://events.example.com, not {self.api_url!r}.")
        url.port  # noqa: B018 - raises if the port is not a number
        if isinstance(self.token, str):
            _check_token(self.token)

    def open(self) -> Sender:
        """Returns a connection that is kept between requests."""
        return _HttpsSender(self, urlsplit(self.api_url))


class _HttpsSender:
    """A connection to the API."""

    def __init__(self, destination: HttpsDestination, url: SplitResult) -> None:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=destination.timeout_seconds)
        self._path = url.path.rstrip("/") + _EVENTS_PATH
        self._token = destination.token

    def send(self, events: Sequence[bytes]) -> Sent:
        token = self._token if isinstance(self._token, str) else self._token()
        _check_token(token)  # checked first, because the connection would keep half of a request that it refuses
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = b"[%b]" % b",".join(events)
        try:
            status, retry_after, content = self._post_again_if_idle(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable("unreachable", f"{type(error).__name__}: {error}") from error
        return _outcome(status, retry_after, content, events)

    def close(self) -> None:
        self._connection.close()

    def _post_again_if_idle(self, body: bytes, headers: dict[str, str]) -> tuple[int, float, bytes]:
        was_idle = self._connection.sock is not None
        try:
            return self._post(body, headers)
        except ConnectionError:
            if not was_idle:
                raise
        # The server closes idle connections, and those of a frozen function. A new connection may still work.
        self.close()
        return self._post(body, headers)

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, float, bytes]:
        """Posts the body; returns status, `Retry-After` in seconds, and body of the answer."""
        self._connection.request("POST", self._path, body, headers)
        response = self._connection.getresponse()
        content = response.read(_MAX_ANSWER_BYTES)
        if response.length or len(content) == _MAX_ANSWER_BYTES:
            raise http.client.IncompleteRead(content)
        return response.status, _seconds(response.getheader("Retry-After")), content


def _check_token(token: str) -> None:
    """Checks that the token can be the value of a header.

    Raises:
        ValueError: the token contains other characters than printable ASCII.
    """
    if not (token and token.isascii() and token.isprintable()):
        raise ValueError("The token must be printable ASCII.")


def _outcome(status: int, retry_after: float, content: bytes, events: Sequence[bytes]) -> Sent:
    """Returns the outcome that an answer of the API states."""
    is_success = 200 <= status < 300
    if is_success or status == 400:
        sent = _sent(content, events)
        if sent is not None:
            return sent
    if status in _UNACCEPTABLE:
        raise Unacceptable(f"http_{status}")
    excerpt = content[:200].decode(errors="replace")
    if is_success:
        raise Unavailable(
            "unreadable_answer", f"The answer with status {status} does not state each event's outcome: {excerpt}"
        )
    raise fault(status, f"http_{status}", f"HTTP {status}: {excerpt}", retry_after)


def _sent(content: bytes, events: Sequence[bytes]) -> Sent | None:
    """Returns the outcome in the answer's body; None unless the body states exactly one outcome for each event."""
    try:
        answer = _answer_decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rejected = {rejected.index: rejected for rejected in answer.rejected}
    counts = (answer.accepted, answer.ignored, len(rejected))
    if min(counts) < 0 or sum(counts) != len(events) or not rejected.keys() <= set(range(len(events))):
        return None
    again = [rejected for rejected in rejected.values() if rejected.retryable]
    return Sent(
        accepted=answer.accepted,
        ignored=answer.ignored,
        rejected=[rejected.code for rejected in rejected.values() if not rejected.retryable],
        again=[events[rejected.index] for rejected in again],
        again_code=again[0].code if again else "",
    )


def _seconds(retry_after: str | None) -> float:
    """Returns the seconds of the header; 0 if it is missing or a date."""
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        return 0
    return seconds if math.isfinite(seconds) else 0


_answer_decoder = msgspec.json.Decoder(Answer)
