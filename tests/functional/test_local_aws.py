"""The AWS endpoint of the local stack."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra.local import aws, deploy, ports
from infra.local.process import Processes
from tests.support import plain_http

SECRET = "never-shown-to-a-page"


class Healthy(BaseHTTPRequestHandler):
    """Answers like a running AWS endpoint."""

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


def test_a_stack_does_not_take_the_endpoint_of_another_that_starts_meanwhile(
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


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An endpoint that keeps a secret."""
    folder = tmp_path_factory.mktemp("aws")
    processes = Processes(folder / "processes.json")
    try:
        endpoint = aws.start(folder, folder / "log", processes)
        deploy.put_secret("kept", SECRET, endpoint)
        yield endpoint
    finally:
        processes.stop()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://localhost.evil.example"}, 403),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_page_of_another_place_is_told_no_secret(endpoint: str, headers: dict[str, str], status: int) -> None:
    answer = plain_http.post(
        endpoint,
        json={"SecretId": "kept"},
        headers={name: value.format(port=endpoint.rpartition(":")[2]) for name, value in headers.items()}
        | {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"},
    )
    assert answer.status_code == status
    assert (SECRET in answer.text) == (status == 200)
