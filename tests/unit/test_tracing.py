"""Spans of X-Ray: what they send, and that they cost nothing while tracing is off."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from functions.shared.tracing import span

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={}"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The daemon of X-Ray beside the function, with tracing on and the invocation sampled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.setblocking(False)  # noqa: FBT003 - the argument has no name
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{daemon.getsockname()[1]}")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE.format(1))
        monkeypatch.setenv("TRACING", "on")
        yield daemon


def received(daemon: socket.socket) -> list[dict[str, Any]]:
    documents = []
    with suppress(BlockingIOError):
        while True:
            header, document = daemon.recv(65_536).split(b"\n")
            assert json.loads(header) == {"format": "json", "version": 1}
            documents.append(json.loads(document))
    return documents


def test_spans_within_spans_form_a_tree_below_the_invocation(daemon: socket.socket) -> None:
    with span("outer"):
        with span("first"):
            pass
        with span("second"):
            pass
    first, second, outer = received(daemon)
    assert [one["name"] for one in (first, second, outer)] == ["first", "second", "outer"]
    assert first["parent_id"] == second["parent_id"] == outer["id"]
    assert outer["parent_id"] == "53995c3f42cd8ad8"
    assert len({first["id"], second["id"], outer["id"]}) == 3
    assert {one["trace_id"] for one in (first, second, outer)} == {"1-5759e988-bd862e3fe1be46a994272793"}
    assert outer["start_time"] <= first["start_time"] <= first["end_time"] <= second["start_time"] <= outer["end_time"]


def test_a_span_that_raises_is_marked(daemon: socket.socket) -> None:
    with pytest.raises(ValueError, match="wrong"), span("a"):
        raise ValueError("wrong")
    assert [(one["name"], one.get("fault")) for one in received(daemon)] == [("a", True)]


@pytest.mark.parametrize("header", [TRACE.format(0), "", "Sampled=1"])
def test_an_invocation_that_is_not_sampled_sends_nothing(
    header: str, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    with span("a"):
        pass
    assert received(daemon) == []


def test_tracing_that_is_off_sends_nothing(daemon: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACING", "off")
    with span("a"):
        pass
    assert received(daemon) == []


def test_tracing_that_is_off_imports_nothing() -> None:
    code = "import sys; from functions.shared.tracing import span\nwith span('a'): pass\nprint(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "functions.shared.tracing" in result.stdout
    assert not [name for name in ("functions.shared.xray", "msgspec") if f"'{name}'" in result.stdout]
