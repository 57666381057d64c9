"""Hides the system that the environment of the tests' caller may name; no test may read or change that system."""

from collections.abc import Mapping

SETTINGS = (
    "ACCEPT_UNREADABLE",
    "API_URL",
    "AUTH_AUDIENCE",
    "AUTH_CLIENT_ID_AS_AUDIENCE",
    "AUTH_ISSUER",
    "AUTH_JWKS_URL",
    "AUTH_MAX_LIFETIME",
    "AUTH_REVOCATIONS_ARN",
    "AUTH_SECRET",
    "AUTH_SECRET_ARN",
    "AUTH_SECRET_PREVIOUS",
    "AUTH_SECRET_PREVIOUS_ARN",
    "CANARY_TOKEN_SECRET_ARN",
    "CLICKHOUSE_CLUSTER",
    "CLICKHOUSE_DURABLE_INSERTS",
    "CLICKHOUSE_RETENTION_MONTHS",
    "CLICKHOUSE_SECRET_ARN",
    "CLICKHOUSE_URL",
    "CORS_ORIGINS",
    "DATABASE_CA",
    "DATABASE_HOST",
    "DATABASE_NAME",
    "DATABASE_PORT",
    "DATABASE_READER_CONNECTIONS",
    "DATABASE_READER_SECRET_ARN",
    "DATABASE_READER_URL",
    "DATABASE_SECRET_ARN",
    "DATABASE_SSLMODE",
    "DATABASE_URL",
    "DATABASE_WRITER_CONNECTIONS",
    "DATABASE_WRITER_SECRET_ARN",
    "DATABASE_WRITER_URL",
    "GRAPHQL_INTROSPECTION",
    "LOG_LEVEL",
    "QUEUE_URL",
    "RETENTION_MONTHS",
    "STACK_NAME",
    "SYNC_FOLLOW_SECONDS",
    "TENANT_COUNTERS_TABLE",
    "TENANT_EVENTS_PER_DAY",
    "TENANT_EVENTS_PER_MINUTE",
    "TENANT_LIMITS",
    "TRACING",
    "WEB_BASE_URL",
)
_ENDPOINT = "LOCALSTACK_HOST"
_PREFIXES = ("AI_USAGE_EVENTS_", "AWS_", "POWERTOOLS_")


def without_the_callers_system(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment without variables that name a system or configure the functions."""
    return {
        name: value
        for name, value in environment.items()
        if name not in (*SETTINGS, _ENDPOINT) and not name.startswith(_PREFIXES)
    }
