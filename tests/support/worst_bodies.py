"""Bodies of 20 MB, as small as a gateway lets them through, that would take the most memory to read.

`python -m tests.support.worst_bodies FOLDER` posts the requests in the folder, and prints a line for each: its answer,
and the highest memory of the process by then, in MB.
"""

import base64
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from copy import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from functions.ingest.api_handler import IngestHandler, build
from functions.ingest.formats.compression import MAX_UNPACKED_BYTES
from functions.ingest.formats.gitlab import TRACK_EVENTS_PATH
from functions.ingest.request import EVENTS_PATH
from functions.shared.grant import EVERYTHING, WRITE
from functions.shared.settings import AuthSettings
from infra.operations.token import sign
from tests.support.process_memory import Outcome, outcomes_of, print_outcome

MAX_INGEST_MEGABYTES = 300
SECRET = "a secret of thirty-two characters, at least"

_CHAT = b'{"event":"request_duo_chat_response","user_id":1,'
_CLOUD = b'{"specversion":"1.0","type":"request_duo_chat_response","source":"s",'
_BINARY_MODE = {"ce-specversion": "1.0", "ce-id": "5", "ce-type": "request_duo_chat_response", "ce-source": "s"}
_LARGEST_EVENT = 65_000


class WorstBody(NamedTuple):
    """A body, and its right answer.

    Attributes:
        answer: status, and code of the first rejection if there is one.
    """

    make: Callable[[], bytes]
    answer: str
    headers: Mapping[str, str] = {}
    path: str = EVENTS_PATH


def filled(before: bytes, part: bytes, after: bytes, size: int = MAX_UNPACKED_BYTES, separator: bytes = b",") -> bytes:
    """Returns a text of at most `size` bytes with as many equal parts as fit into it."""
    parts = (size - len(before) - len(after)) // (len(part) + len(separator))
    return before + separator.join([part] * parts) + after


@cache
def _members() -> bytes:
    """Returns members of an object in as many bytes as a body may have, each with a key of its own."""
    return b",".join(b'"%x":0' % number for number in range(MAX_UNPACKED_BYTES // len('"000000":0,')))


def keyed(before: bytes, after: bytes, size: int = MAX_UNPACKED_BYTES) -> bytes:
    """Returns an object of at most `size` bytes with as many keys as fit into it."""
    members = _members()
    return before + members[: members.rfind(b",", 0, size - len(before) - len(after))] + after


def _events(event: bytes) -> bytes:
    return filled(b"[", event, b"]")


WORST_BODIES: Mapping[str, WorstBody] = {
    "an array of zeros": WorstBody(lambda: _events(b"0"), "413"),
    "an array of objects": WorstBody(lambda: _events(b"{}"), "413"),
    "lines of zeros": WorstBody(
        lambda: filled(b"", b"0", b"", separator=b"\n"), "413", {"Content-Type": "application/x-ndjson"}
    ),
    "deep arrays": WorstBody(lambda: b"[" * MAX_UNPACKED_BYTES, "400"),
    "deep objects": WorstBody(lambda: filled(b"", b'{"a":', b"", separator=b""), "400"),
    "a string of characters of four bytes": WorstBody(
        lambda: filled(b'{"event":"', "😀".encode(), b'"}', separator=b""), "400 too_large"
    ),
    "a string of escapes": WorstBody(
        lambda: filled(b'{"event":"', rb"\n", '😀"}'.encode(), separator=b""), "400 too_large"
    ),
    "a string of halves of pairs": WorstBody(lambda: filled(b'["', rb"\ud83d", b'"]', separator=b""), "400 too_large"),
    "a string of noncharacters": WorstBody(
        lambda: filled(b'["', b"\xef\xbf\xbe", b'"]', separator=b""), "400 too_large"
    ),
    "as many events as are allowed": WorstBody(
        lambda: b"[%b]" % b",".join([_CHAT + b'"more":"%b"}' % (b"x" * 2_030)] * 10_000), "202"
    ),
    "events of noncharacters": WorstBody(
        lambda: b"[%b]" % b",".join([_CHAT + b'"more":"%b"}' % (b"\xef\xbf\xbe" * 670)] * 10_000), "202"
    ),
    "as many rejected events as are allowed": WorstBody(
        lambda: b"[%b]" % b",".join([b'{"event":"%b"}' % ("😀" * 500).encode()] * 10_000), "400 unknown_event"
    ),
    "empty objects as events": WorstBody(lambda: b"[%b]" % b",".join([b"{}"] * 10_000), "400 invalid_event"),
    "a time of millions of lists": WorstBody(lambda: filled(_CHAT + b'"timestamp":[', b"[]", b"]}"), "400 too_large"),
    "a time of millions of lists, with a key": WorstBody(
        lambda: filled(_CHAT + b'"timestamp":[', b"[]", b"]}"), "400 too_large", {"Idempotency-Key": "key"}
    ),
    "events with times of many objects": WorstBody(
        lambda: _events(filled(_CHAT + b'"timestamp":[', b'{"":0}', b"]}", _LARGEST_EVENT)), "400 invalid_timestamp"
    ),
    "events with many lists and a bad character": WorstBody(
        lambda: _events(filled(_CHAT + rb'"a":"\u0000","more":[', b"[]", b"]}", _LARGEST_EVENT)), "400 invalid_text"
    ),
    "an event of millions of keys": WorstBody(lambda: keyed(_CHAT, b"}"), "400 too_large"),
    "an ignored event of millions of keys": WorstBody(
        lambda: keyed(b'{"event":"elsewhere","additional_properties":{', b"}}"), "202"
    ),
    "a CloudEvent with an id of millions of lists": WorstBody(
        lambda: filled(_CLOUD + b'"id":[', b"[]", b"]}"), "400 invalid_cloud_event"
    ),
    "a CloudEvent with data of millions of keys": WorstBody(
        lambda: keyed(_CLOUD + b'"id":"5","data":{', b"}}"), "400 too_large"
    ),
    "a CloudEvent with millions of keys in base64": WorstBody(
        lambda: (
            _CLOUD
            + b'"id":"5","data_base64":"%b"}' % base64.b64encode(keyed(b"{", b"}", MAX_UNPACKED_BYTES * 3 // 4 - 200))
        ),
        "400 too_large",
    ),
    "millions of keys as data of a CloudEvent in headers": WorstBody(
        lambda: keyed(b"{", b"}"), "400 too_large", _BINARY_MODE
    ),
    "GitLab's events, with half a pair": WorstBody(
        lambda: filled(rb'{"a":"\ud83d","events":[', b'{"event":"%b"}' % (b"x" * 2_100), b"]}"),
        "200",
        path=TRACK_EVENTS_PATH,
    ),
    "a bomb": WorstBody(lambda: b" " * (10 * MAX_UNPACKED_BYTES), "413"),
}


def post_worst_bodies(folder: Path) -> list[Outcome]:
    """Posts all bodies to one ingest function in a process of its own, as Lambda would."""
    for number, worst in enumerate(WORST_BODIES.values()):
        (folder / f"{number:03}.json").write_text(json.dumps(_request(worst)))
    return outcomes_of(__name__, WORST_BODIES, folder)


def _request(worst: WorstBody) -> dict[str, object]:
    headers = {"Content-Type": "application/json", **worst.headers}
    body = base64.b64encode(gzip.compress(worst.make(), 1)).decode()
    return {"resource": worst.path, "headers": headers, "body": body, "isBase64Encoded": True}


def _handler() -> IngestHandler:
    """Returns the ingest function with a queue that takes everything."""
    with patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):
        handler = build(
            auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3, log_level="CRITICAL"
        )
    handler.intake = replace(handler.intake, send=lambda bodies, *, groups: set())  # noqa: ARG005
    return handler


def _answer(handler: IngestHandler, path: Path, authorization: str) -> str:
    event = json.loads(path.read_bytes())
    event["headers"]["Authorization"] = authorization
    with redirect_stdout(io.StringIO()):  # metrics
        answer = handler(event, None)
    rejected = json.loads(answer["body"]).get("rejected")
    return f"{answer['statusCode']} {rejected[0]['code']}" if rejected else str(answer["statusCode"])


def _main(folder: Path) -> None:
    handler = _handler()
    authorization = f"Bearer {sign(SECRET, '1', [WRITE], [EVERYTHING], timedelta(hours=1))}"
    for path in sorted(folder.glob("*.json")):
        answer = _answer(handler, path, authorization)
        print_outcome(answer)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
