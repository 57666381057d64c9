"""Sends subsegments to the daemon of AWS X-Ray that runs beside each traced function.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import msgspec

_HEADER = b'{"format": "json", "version": 1}\n'

_parent: ContextVar[str | None] = ContextVar("parent_span", default=None)


@contextmanager
def subsegment(name: str) -> Iterator[None]:
    """Sends the block as a subsegment of the enclosing one, or of the invocation; marks it if the block raises.

    Sends nothing if X-Ray does not sample the invocation. A daemon that does not answer costs nothing: it takes UDP.
    """
    trace = dict(part.partition("=")[::2] for part in os.environ.get("_X_AMZN_TRACE_ID", "").split(";"))
    if trace.get("Sampled") != "1" or "Root" not in trace:
        yield
        return
    own_id, parent_id = secrets.token_hex(8), _parent.get() or trace.get("Parent")
    token, start, is_fault = _parent.set(own_id), time.time(), True
    try:
        yield
        is_fault = False
    finally:
        _parent.reset(token)
        document: dict[str, object] = {
            "name": name,
            "id": own_id,
            "trace_id": trace["Root"],
            "parent_id": parent_id,
            "type": "subsegment",
            "start_time": start,
            "end_time": time.time(),
        }
        _send(document | ({"fault": True} if is_fault else {}))


def _send(document: Mapping[str, object]) -> None:
    host, _, port = os.environ.get("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000").rpartition(":")
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.sendto(_HEADER + msgspec.json.encode(document), (host, int(port)))
