"""Deletes what was counted of a tenant."""

from functions.shared.postgres import Connection
from infra.operations.erasure.record import Record, count

_DELETE = "DELETE FROM tenant_usage WHERE tenant = %(tenant)s"


def delete_usage(connection: Connection, record: Record) -> None:
    """Deletes the daily counts of a root namespace; counts them in the record.

    Nothing is counted of namespaces below a root, or of users.
    """
    subject = record.within.subject
    if subject.kind == "namespace":
        with connection.transaction():
            count(connection, record, "daily counts", connection.execute(_DELETE, {"tenant": subject.name}).rowcount)
