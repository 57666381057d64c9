"""The AWS endpoint of the local stack."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra.local import aws, ports
from infra.local.process import Processes


class Healthy(BaseHTTPRequestHandler):
    """Answers as an endpoint that is up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def other_stack() -> Iterator[str]:
    """The endpoint of another stack."""
    with ThreadingHTTPServer((ports.HOST, 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{ports.HOST}:{server.server_port}"
        server.shutdown()


def test_the_endpoint_of_a_stack_that_starts_in_the_same_moment_is_not_taken_for_ones_own(
    other_stack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert aws.answers(other_stack)
    free = ports.free
    monkeypatch.setattr(aws, "PREFERRED_PORT", int(other_stack.rpartition(":")[2]))
    monkeypatch.setattr(ports, "free", lambda preferred=None: preferred or free())  # it was when one looked
    processes = Processes(tmp_path / "processes.json")
    try:
        endpoint = aws.start(tmp_path, tmp_path / "log", processes)
        assert endpoint != other_stack
        assert aws.answers(endpoint)
    finally:
        processes.stop()
