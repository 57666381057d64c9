"""Rights of the writer and the reader to tables: a deployment gives them, and `usage-events doctor` compares them."""

READ = frozenset({"SELECT"})
WRITE = frozenset({"INSERT", "UPDATE", "DELETE"})

OF_DEPLOYMENTS = ("alembic_version", "migration_steps", "releases", "payload_keys")
"""Tables that the owner alone writes."""

OF_OPERATORS = (
    "rejected_events",
    "rejection_history",
    "erasures",
    "exports",
    "directory_changes",
    "reprocessings",
    "tenant_usage",
)
"""Tables that hold what was refused, erased, exported and counted, which the reader does not read."""


def of_writer(table: str) -> frozenset[str]:
    """Returns the rights of the consumer and the sync to a table."""
    return READ if table in OF_DEPLOYMENTS else READ | WRITE


def of_reader(table: str) -> frozenset[str]:
    """Returns the rights of GraphQL to a table."""
    return frozenset() if table in OF_OPERATORS else READ
