"""Batches of messages, as large as Lambda may pass to the consumer, that would take the most memory to store.

`python -m tests.support.worst_batches DATABASE_URL MESSAGES` stores at most so many messages of each batch, and prints
a line for each: the number of messages that failed, and the highest memory of the process by then, in MB.
"""

import base64
import gzip
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.ingest.contract import MAX_EVENTS
from functions.ingest.formats.compression import MAX_UNPACKED_BYTES
from tests.support.process_memory import Outcome, outcomes_of, print_outcome
from tests.support.worst_bodies import filled

MAX_CONSUMER_MEGABYTES = 512
MOST_MESSAGES = 6  # more than are stored together, by their events
_MANY_BYTES = 4  # more than are stored together, by their bytes

_CHAT = b'{"event":"request_duo_chat_response",'
_SHOWN = b'{"event":"code_suggestion_shown_in_ide",'
_LARGEST_EVENT = 65_000


class WorstBatch(NamedTuple):
    """Messages of one batch.

    Attributes:
        messages: how many there are.
        make: makes the events of a message, by its number.
    """

    messages: int
    make: Callable[[int], Iterable[bytes]]


def _events(count: int, event: Callable[[int], bytes]) -> Callable[[int], Iterable[bytes]]:
    return lambda message: (event(message * count + number) for number in range(count))


def _of_size(begin: bytes, part: bytes, end: bytes, size: int) -> Callable[[int], bytes]:
    rest = filled(begin, part, end, size - 40)
    return lambda number: b'%b"user_id":%d,%b' % (_CHAT, number + 1, rest)


_LARGEST_MESSAGE = MAX_UNPACKED_BYTES // (_LARGEST_EVENT + 1)

WORST_BATCHES: Mapping[str, WorstBatch] = {
    "small events": WorstBatch(
        MOST_MESSAGES, _events(MAX_EVENTS, lambda number: b'%b"user_id":%d}' % (_CHAT, number + 1))
    ),
    "events of distinct users, names, namespaces and projects": WorstBatch(
        2,  # PostgreSQL has no time for more in one transaction
        _events(
            MAX_EVENTS,
            lambda number: (
                b'%b"user_id":%d,"username":"name of %d","namespace_path":"1/%d/","namespace_full_path":"a/b%d",'
                b'"project_id":%d}' % (_CHAT, number + 1, number, number + 2, number, number + 1)
            ),
        ),
    ),
    "events with every key of a payload": WorstBatch(
        MOST_MESSAGES,
        _events(
            MAX_EVENTS,
            lambda number: (
                b'%b"user_id":%d,"suggestion_size":%d,"language":"ruby","branch_name":"%064d","ide_name":"%0200d",'
                b'"ide_vendor":"%0200d","model_name":"%0200d"}'
                % (_SHOWN, number + 1, number, number, number, number, number)
            ),
        ),
    ),
    "events of two kilobytes": WorstBatch(
        _MANY_BYTES,
        _events(MAX_EVENTS, lambda number: b'%b"user_id":%d,"more":"%01990d"}' % (_CHAT, number + 1, number)),
    ),
    "payloads as large as are allowed": WorstBatch(
        _MANY_BYTES, _events(MAX_UNPACKED_BYTES // 16_000, _of_size(b'"more":[', b"0", b"]}", 16_000))
    ),
    "payloads that are too large": WorstBatch(
        _MANY_BYTES, _events(_LARGEST_MESSAGE, _of_size(b'"more":[', b"0", b"]}", _LARGEST_EVENT))
    ),
    "payloads of many lists": WorstBatch(
        _MANY_BYTES, _events(_LARGEST_MESSAGE, _of_size(b'"more":[', b"[]", b"]}", _LARGEST_EVENT))
    ),
    "payloads of many objects": WorstBatch(
        _MANY_BYTES, _events(_LARGEST_MESSAGE, _of_size(b'"more":[', b'{"":[]}', b"]}", _LARGEST_EVENT))
    ),
    "payloads of many characters of four bytes": WorstBatch(
        _MANY_BYTES,
        _events(_LARGEST_MESSAGE, _of_size('"more":["😀"'.encode(), '"😀"'.encode(), b"]}", _LARGEST_EVENT)),
    ),
    "rejected events": WorstBatch(
        MOST_MESSAGES, _events(MAX_EVENTS, lambda number: b'{"event":"unknown %d"}' % number)
    ),
    "rejected events of two kilobytes": WorstBatch(
        _MANY_BYTES, _events(MAX_EVENTS, lambda number: b'%b"user_id":"none","more":"%01980d"}' % (_CHAT, number))
    ),
}


def consume_worst_batches(database_url: str, messages: int = MOST_MESSAGES) -> list[Outcome]:
    """Passes all batches to one consumer in a process of its own, as Lambda would.

    Args:
        messages: at most so many of each batch.
    """
    return outcomes_of(__name__, WORST_BATCHES, database_url, messages)


def _record(events: Iterable[bytes]) -> dict[str, Any]:
    body = base64.b64encode(gzip.compress(b"[" + b",".join(events) + b"]", 1)).decode()
    sent = str(round(datetime.now(UTC).timestamp() * 1000))
    return {
        "messageId": str(uuid4()),
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": sent},
        "messageAttributes": {},
    }


def _consume(handler: ConsumerHandler, batch: WorstBatch) -> int:
    records = [_record(batch.make(message)) for message in range(batch.messages)]
    return len(handler({"Records": records}, None)["batchItemFailures"])


def _main(database_url: str, messages: int) -> None:
    handler = build(database_url=database_url, retention_months=3, log_level="CRITICAL")
    handler.clock = lambda: 0.0  # the consumer must not stop before the largest group
    for batch in WORST_BATCHES.values():
        failed = _consume(handler, batch._replace(messages=min(batch.messages, messages)))
        print_outcome(f"{failed} failed")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
