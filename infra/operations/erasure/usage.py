"""Reads and deletes what was counted of a tenant."""

from collections.abc import Iterator
from datetime import date

import msgspec

from functions.shared.postgres import Connection
from infra.operations.erasure.record import Record, count
from infra.operations.erasure.subject import Subject

_READ = """
    SELECT day, tenant, sum(events)::bigint, sum(stored)::bigint, sum(bytes)::bigint
    FROM tenant_usage
    WHERE tenant = %(tenant)s
    GROUP BY day, tenant
    ORDER BY day
"""

_DELETE = "DELETE FROM tenant_usage WHERE tenant = %(tenant)s"


class UsageLine(msgspec.Struct, tag_field="record", tag="usage"):
    """The line of what a root namespace used on a day; see `infra.operations.tenant_usage.Usage`."""

    day: date
    tenant: str
    events: int
    stored: int
    bytes: int


def usage_lines(connection: Connection, subject: Subject) -> Iterator[UsageLine]:
    """Yields the daily counts of a root namespace."""
    if subject.kind == "namespace":
        for row in connection.execute(_READ, {"tenant": subject.name}):
            yield UsageLine(*row)


def delete_usage(connection: Connection, record: Record) -> None:
    """Deletes the daily counts of a root namespace; counts them in the record.

    Nothing is counted of namespaces below a root, or of users.
    """
    subject = record.within.subject
    if subject.kind == "namespace":
        with connection.transaction():
            count(connection, record, "daily counts", connection.execute(_DELETE, {"tenant": subject.name}).rowcount)
