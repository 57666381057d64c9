"""An API server on this machine that judges events like the real API, and fails on request."""

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.contract import Answer
from functions.ingest.formats.table import events_in
from functions.ingest.intake import Intake
from functions.shared.catalog import registry
from functions.shared.grant import Grant

TOKEN = "a.token.of-tests"
HANG_SECONDS = 1.0
WAIT_SECONDS = 0.5
_GRANT = Grant("5", ("events:write",), ("*",))
_RESET_AT_ONCE = struct.pack("ii", 1, 0)


class FaultyApi(ThreadingHTTPServer):
    """A server that follows a script of faults, one for each request, and works after that.

    Attributes:
        faults: fault of each of the next requests; an empty text for none.
        bodies: events of each request that the server read.
        written: all different texts of each event, by id.
        accepted: ids of accepted events, once for each time that the event was accepted.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: deque[str] = deque()
        self.bodies: list[list[dict[str, Any]]] = []
        self.tokens: list[str | None] = []
        self.connections = 0
        self.written: dict[str, set[bytes]] = {}
        self.accepted: list[str] = []
        self.intake = Intake(registry.load(), 3, send=_all)

    @property
    def url(self) -> str:
        """The server's URL, for the setting `api_url`."""
        return f"http://127.0.0.1:{self.server_port}/stage/"

    def fail(self, faults: Iterable[str]) -> None:
        """Begins a script, and clears the records."""
        self.faults = deque(faults)
        self.bodies, self.tokens, self.accepted, self.written = [], [], [], {}
        self.connections = 0

    def judge(self, body: bytes, fault: str) -> Answer:
        """Returns the answer of the real API."""
        for raw in msgspec.json.decode(body, type=list[msgspec.Raw]):
            identifier = msgspec.json.decode(raw).get("id")
            self.written.setdefault(identifier, set()).add(bytes(raw))
        self.bodies.append(msgspec.json.decode(body))
        intake = replace(self.intake, send=_all_but_the_last) if fault == "partly queued" else self.intake
        answer = intake.take_in(events_in(body), _GRANT, datetime.now(UTC))
        self.accepted += [str(identifier) for identifier in answer.ids if isinstance(identifier, UUID)]
        return answer


def _all(bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
    return set()


def _all_but_the_last(bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
    return {len(bodies) - 1} if len(bodies) > 1 else set()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server: FaultyApi

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        """Answers, or fails as the script says."""
        with contextlib.suppress(OSError):
            fault = self.server.faults.popleft() if self.server.faults else ""
            if fault == "reset":
                self.reset()
                return
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the process that sends it was killed
                self.close_connection = True
                return
            self.server.tokens.append(self.headers["Authorization"])
            assert self.path == "/stage/v1/events"
            assert self.headers["Content-Type"] == "application/json"
            FAULTS.get(fault, _answer_with_status)(self, body, fault)

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        """Writes a whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def reset(self) -> None:
        """Resets the connection, so that the client sees an error."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _judge(handler: Handler, body: bytes, fault: str) -> None:
    answer = handler.server.judge(body, fault)
    handler.answer(answer.status, msgspec.json.encode(answer))


def _answer_with_status(handler: Handler, __: bytes, fault: str) -> None:
    """Answers with the status of the fault, and with its `Retry-After` header if there is one."""
    status, _, retry_after = fault.partition(" ")
    handler.answer(int(status), b'{"message": "so it is"}', Retry_After=retry_after or "0.01")


def _ask_to_wait(handler: Handler, _: bytes, __: str) -> None:
    handler.answer(503, b"", Retry_After=str(WAIT_SECONDS))


def _lose_the_answer(handler: Handler, body: bytes, fault: str) -> None:
    """Accepts the events, and ends the connection without an answer."""
    content = msgspec.json.encode(handler.server.judge(body, fault))
    handler.send_response(202)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    if fault == "hangs in the answer":
        threading.Event().wait(HANG_SECONDS)
    handler.reset()


def _cut_a_refusal(handler: Handler, _: bytes, __: str) -> None:
    handler.send_response(400)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.close_connection = True


def _hang(handler: Handler, _: bytes, __: str) -> None:
    threading.Event().wait(HANG_SECONDS)
    handler.reset()


def _close_afterwards(handler: Handler, body: bytes, fault: str) -> None:
    _judge(handler, body, fault)
    handler.close_connection = True


def _speak_otherwise(handler: Handler, _: bytes, __: str) -> None:
    handler.wfile.write(b"what?\r\n\r\n")
    handler.reset()


def _lie(handler: Handler, body: bytes, _: str) -> None:
    count = len(msgspec.json.decode(body))
    rejected = [{"index": 0, "code": "made_up", "message": "", "retryable": False}]
    answer = {"accepted": count, "ignored": 0, "rejected": rejected, "ids": []}
    handler.answer(202, msgspec.json.encode(answer))


FAULTS: dict[str, Callable[[Handler, bytes, str], None]] = {
    "": _judge,
    "partly queued": _judge,
    "answer is cut": _lose_the_answer,
    "hangs in the answer": _lose_the_answer,
    "refusal is cut": _cut_a_refusal,
    "hangs": _hang,
    "asks to wait": _ask_to_wait,
    "closes afterwards": _close_afterwards,
    "says nothing": lambda handler, _, __: handler.answer(200, b"<html>welcome</html>"),
    "lies": _lie,
    "no HTTP": _speak_otherwise,
}
PASSING_FAULTS = ("500", "503", "429", "408", "302", "reset", *(fault for fault in FAULTS if fault))


@contextmanager
def serve() -> Iterator[FaultyApi]:
    """A running server."""
    api = FaultyApi()
    thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        api.server_close()
        thread.join()
