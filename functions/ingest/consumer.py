"""Lambda function that transforms the events of the queue and stores them in PostgreSQL."""

from functions.ingest.consumer_handler import build
from functions.shared import settings

handler = build(
    database_url=settings.database_source(),
    retention_months=settings.retention_months(),
    log_level=settings.log_level(),
    queue_url=settings.queue_url(),
)
