"""Folds the counts of past days, and deletes those that are no longer needed."""

from functions.shared.postgres import Connection

MONTHS_KEPT = 13
"""Months for which the usage of tenants is kept: so that a month can be compared with the same one of the last year."""

_FOLD = """
    WITH folded AS (
        DELETE FROM tenant_usage
        WHERE day < (now() AT TIME ZONE 'UTC')::date - 1 AND shard > 0
        RETURNING day, tenant, events, stored, bytes
    )
    INSERT INTO tenant_usage AS known (day, tenant, shard, events, stored, bytes)
    SELECT day, tenant, 0, sum(events), sum(stored), sum(bytes)
    FROM folded
    GROUP BY day, tenant
    ON CONFLICT (day, tenant, shard) DO UPDATE SET
        events = known.events + excluded.events,
        stored = known.stored + excluded.stored,
        bytes = known.bytes + excluded.bytes
"""

_COUNT_OLD = """
    SELECT count(*)
    FROM tenant_usage
    WHERE day < (now() AT TIME ZONE 'UTC')::date - make_interval(months => %s)
"""

_DELETE_OLD = """
    DELETE FROM tenant_usage
    WHERE day < (now() AT TIME ZONE 'UTC')::date - make_interval(months => %s)
"""


def count_old(connection: Connection) -> int:
    """Returns how many rows `fold_and_delete` would delete because of their age."""
    row = connection.execute(_COUNT_OLD, [MONTHS_KEPT]).fetchone()
    return int(row[0]) if row else 0


def fold_and_delete(connection: Connection) -> int:
    """Leaves one row for each tenant and past day, and returns how many rows were deleted because of their age.

    Yesterday's rows stay as they are: a transaction that began before midnight may still change them.
    """
    deleted = connection.execute(_DELETE_OLD, [MONTHS_KEPT]).rowcount
    connection.execute(_FOLD)
    return deleted
