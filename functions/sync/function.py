"""Lambda function that is invoked every minute: brings ClickHouse up to what PostgreSQL has."""

from functions.shared import settings
from functions.sync.handler import build

handler = build(
    database_url=settings.database_url(),
    clickhouse_url=settings.clickhouse_url(),
    cluster=settings.clickhouse_cluster(),
    durable=settings.clickhouse_durable_inserts(),
    follow_seconds=settings.sync_follow_seconds(),
    log_level=settings.log_level(),
)
