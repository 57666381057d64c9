"""Lambda function on the queue: transforms events and stores them in PostgreSQL."""

import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.ingest.consumption import Consumer, Outcome
from functions.shared import registry, settings
from functions.shared.arrival import arrival_of
from functions.shared.batch import Batch
from functions.shared.garbage import collected_afterwards
from functions.shared.postgres import Database, TimeLimits, reason_of
from functions.shared.replay import read_message

logger = Logger(level=settings.log_level())
consumer = Consumer(
    database=Database(settings.database_url(), TimeLimits(statement=45, transaction=50)),
    registry=registry.load(),
    retention_months=settings.retention_months(),
)

# Of what is unpacked at once: a message of gzip holds at most 20 MB, but there may be many of them.
MOST_BYTES_AT_ONCE = 64 * 1024 * 1024


class Message(NamedTuple):
    """A message of the queue, and the events in it."""

    id: str
    batch: Batch


@collected_afterwards()
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Stores messages, at once if they are not huge; those that it reports are delivered again."""
    records = event["Records"]
    outcome, done = Outcome(), set[str]()
    try:
        for messages in _groups(records):
            stored, stored_ids = _consume(messages)
            outcome, done = outcome + stored, done | stored_ids
    except psycopg.Error as error:
        logger.warning(
            "PostgreSQL did not store the batch",
            extra={"messages": len(records) - len(done), "sqlstate": error.sqlstate, "reason": reason_of(error)},
        )
    if done:
        _log(outcome, len(done))
    failed = [record["messageId"] for record in records if record["messageId"] not in done]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _groups(records: Sequence[dict[str, Any]]) -> Iterator[list[Message]]:
    """The messages that can be read, as many together as may be unpacked at once."""
    group: list[Message] = []
    room = MOST_BYTES_AT_ONCE
    for record in records:
        try:
            batch = read_message(record["body"].encode(errors="replace"), arrival_of(record))
        except Exception as error:  # noqa: BLE001 - what nobody foresaw; in the end the message is a dead letter
            _log_failure(record["messageId"], error)
            continue
        size = sum(map(len, batch.events))
        if group and size > room:
            yield group
            group, room = [], MOST_BYTES_AT_ONCE
        group.append(Message(record["messageId"], batch))
        room -= size
    if group:
        yield group


def _consume(messages: Sequence[Message]) -> tuple[Outcome, set[str]]:
    """What became of the messages, and the ids of all but those that the code fails on, which are found by halving.

    Raises:
        psycopg.Error: PostgreSQL is away.
    """
    try:
        return consumer.consume([message.batch for message in messages]), {message.id for message in messages}
    except psycopg.Error:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        if len(messages) == 1:
            _log_failure(messages[0].id, error)
            return Outcome(), set()
    half = len(messages) // 2
    (first, first_ids), (second, second_ids) = _consume(messages[:half]), _consume(messages[half:])
    return first + second, first_ids | second_ids


def _log(outcome: Outcome, messages: int) -> None:
    logger.info(
        "consumed",
        extra={
            "messages": messages,
            "stored": outcome.stored,
            "duplicates": outcome.duplicates,
            "ignored": outcome.ignored,
            "rejected": len(outcome.rejected),
            "codes": Counter(row.code for row in outcome.rejected),
            "made_partitions": outcome.partitions,
        },
    )


def _log_failure(message_id: str, error: Exception) -> None:
    """Says where the code fails on a message; not what it says, which may quote the message."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename}:{place.lineno}"
    extra = {"message_id": message_id, "error": type(error).__name__, "where": where}
    logger.error("a message can't be consumed", extra=extra)
