"""Lambda function behind `/graphql`: answers queries, and serves a page to try them."""

from functions.graphql.handler import build
from functions.shared import settings

handler = build(
    auth=settings.auth(),
    database_url=settings.database_url(),
    clickhouse_url=settings.clickhouse_url(),
    introspection=settings.graphql_introspection(),
    log_level=settings.log_level(),
)
