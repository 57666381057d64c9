"""Lambda function, invoked every minute: moves stored events, and copies new ones to ClickHouse."""

from functions.shared.gc_tuning import gc_frozen

with gc_frozen():
    from functions.shared import settings
    from functions.sync.handler import build

    handler = build(
        database_url=settings.database_source(),
        clickhouse_url=settings.clickhouse_source(),
        cluster=settings.clickhouse_cluster(),
        durable=settings.clickhouse_durable_inserts(),
        follow_seconds=settings.sync_follow_seconds(),
        log_level=settings.log_level(),
    )
