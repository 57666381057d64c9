"""The Lambda function behind `/graphql`, built from the environment's settings."""

from functions.shared.gc_tuning import gc_frozen

with gc_frozen():
    from functions.graphql.handler import build
    from functions.shared import settings

    handler = build(
        auth=settings.auth(),
        database_url=settings.database_source(),
        clickhouse_url=settings.clickhouse_source(),
        introspection=settings.graphql_introspection(),
        cors_origins=settings.cors_origins(),
        web_base_url=settings.web_base_url(),
        log_level=settings.log_level(),
    )
