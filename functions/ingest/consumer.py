"""Lambda function on the queue: transforms events and stores them in PostgreSQL."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.ingest.consumption import Consumer, Outcome
from functions.shared import registry, settings
from functions.shared.batch import Batch, read_batch
from functions.shared.garbage import collected_afterwards
from functions.shared.postgres import Database, TimeLimits

logger = Logger(level=settings.log_level())
consumer = Consumer(
    database=Database(settings.database_url(), TimeLimits(statement=45, transaction=50)),
    registry=registry.load(),
    retention_months=settings.retention_months(),
)


# Of what is unpacked at once: a message of gzip holds at most 20 MB, but there may be many of them.
MOST_BYTES_AT_ONCE = 64 * 1024 * 1024


@collected_afterwards()
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Stores a batch of messages, at once if it is not huge; those not stored are reported, to be delivered again."""
    records = event["Records"]
    done = 0
    try:
        for batches in _groups(records):
            _log(consumer.consume(batches), len(batches))
            done += len(batches)
    except psycopg.OperationalError as error:
        logger.warning(
            "PostgreSQL did not store the batch", extra={"messages": len(records) - done, "reason": str(error)}
        )
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records[done:]]}


def _groups(records: Sequence[dict[str, Any]]) -> Iterator[list[Batch]]:
    """The batches in the messages, as many together as may be unpacked at once."""
    group: list[Batch] = []
    room = MOST_BYTES_AT_ONCE
    for record in records:
        batch = _batch(record)
        size = sum(map(len, batch.events))
        if group and size > room:
            yield group
            group, room = [], MOST_BYTES_AT_ONCE
        group.append(batch)
        room -= size
    if group:
        yield group


def _batch(record: dict[str, Any]) -> Batch:
    sent_at = datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC)
    return read_batch(record["body"].encode(errors="replace"), record["messageId"], sent_at)


def _log(outcome: Outcome, messages: int) -> None:
    logger.info(
        "consumed",
        extra={
            "messages": messages,
            "stored": outcome.stored,
            "duplicates": outcome.duplicates,
            "ignored": outcome.ignored,
            "rejected": len(outcome.rejected),
        },
    )
