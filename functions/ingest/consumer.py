"""Lambda function on the queue: transforms events and stores them in PostgreSQL."""

from collections import Counter
from typing import Any

import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.ingest.consumption import Consumer
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
    """Stores a batch of messages: all of it, or each message is reported, to be delivered again."""
    records = event["Records"]
    try:
        outcome = consumer.consume([_batch(record) for record in records])
    except psycopg.Error as error:
        logger.warning(
            "PostgreSQL did not store the batch",
            extra={"messages": len(records), "sqlstate": error.sqlstate, "reason": reason_of(error)},
        )
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records]}
    logger.info(
        "consumed",
        extra={
            "messages": len(records),
            "stored": outcome.stored,
            "duplicates": outcome.duplicates,
            "ignored": outcome.ignored,
            "rejected": len(outcome.rejected),
            "codes": Counter(row.code for row in outcome.rejected),
        },
    )
    return {"batchItemFailures": []}


def _batch(record: dict[str, Any]) -> Batch:
    return read_message(record["body"].encode(errors="replace"), arrival_of(record))
