"""Lambda function on the queue: transforms events and stores them in PostgreSQL."""

import traceback
from collections import Counter
from collections.abc import Sequence
from typing import Any

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


@collected_afterwards()
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Stores a batch of messages; those that it reports are delivered again, all of them where PostgreSQL is away."""
    records = event["Records"]
    try:
        outcome, failed = _consume(records)
    except psycopg.Error as error:
        logger.warning(
            "PostgreSQL did not store the batch",
            extra={"messages": len(records), "sqlstate": error.sqlstate, "reason": reason_of(error)},
        )
        failed = records
    else:
        logger.info(
            "consumed",
            extra={
                "messages": len(records) - len(failed),
                "stored": outcome.stored,
                "duplicates": outcome.duplicates,
                "ignored": outcome.ignored,
                "rejected": len(outcome.rejected),
                "codes": Counter(row.code for row in outcome.rejected),
                "made_partitions": outcome.partitions,
            },
        )
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def _consume(records: Sequence[dict[str, Any]]) -> tuple[Outcome, Sequence[dict[str, Any]]]:
    """What became of the messages, and those of them that the code fails on, found by halving: its neighbours go on.

    Raises:
        psycopg.Error: PostgreSQL is away.
    """
    try:
        return consumer.consume([_batch(record) for record in records]), []
    except psycopg.Error:
        raise
    except Exception as error:  # noqa: BLE001 - what nobody foresaw; in the end the message is a dead letter
        if len(records) == 1:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            extra = {"message_id": records[0]["messageId"], "error": type(error).__name__, "where": where}
            logger.error("a message can't be consumed", extra=extra)  # noqa: TRY400 - a trace may quote the message
            return Outcome(), records
    half = len(records) // 2
    (first, first_failed), (second, second_failed) = _consume(records[:half]), _consume(records[half:])
    return first + second, [*first_failed, *second_failed]


def _batch(record: dict[str, Any]) -> Batch:
    return read_message(record["body"].encode(errors="replace"), arrival_of(record))
