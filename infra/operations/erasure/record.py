"""The record of an erasure: who asked for it and when, how far it is, and how much was removed."""

from datetime import datetime

import msgspec

from functions.shared.postgres import Connection
from functions.shared.queue import MAX_TRANSIT
from infra.operations.erasure.subject import Subject, Within, read_within

_BEGIN = """
    INSERT INTO erasures (kind, subject, namespace_ids, project_ids, requested_by, requested_at, repels_until)
    SELECT %(kind)s, %(subject)s, %(namespace_ids)s, %(project_ids)s, %(requested_by)s, now, now + %(transit)s
    FROM clock_timestamp() AS now
    RETURNING id, requested_at, repels_until
"""

_COUNT = """
    UPDATE erasures
    SET counts = counts || jsonb_build_object(
        %(name)s::text, coalesce((counts ->> %(name)s)::bigint, 0) + %(number)s
    )
    WHERE id = %(id)s
"""

_COUNT_IN_CLICKHOUSE = """
    UPDATE erasures
    SET counts = counts || jsonb_build_object('clickhouse_events', %(number)s::bigint)
    WHERE id = %(id)s
"""

_READ_COUNTS = "SELECT counts FROM erasures WHERE id = %s"

_POSTGRESQL_DONE = "UPDATE erasures SET postgresql = 'done' WHERE id = %s"

# An erasure that was interrupted is finished by the next one of the same subject, which removes all that it left.
_FINISH = """
    UPDATE erasures
    SET postgresql = 'done', clickhouse = %(clickhouse)s, finished_at = clock_timestamp()
    WHERE kind = %(kind)s AND subject = %(subject)s AND id <= %(id)s AND finished_at IS NULL
"""

_UNFINISHED = """
    SELECT kind, subject, requested_by, requested_at, postgresql, clickhouse
    FROM erasures
    WHERE finished_at IS NULL
    ORDER BY id
"""


class Record(msgspec.Struct, frozen=True):
    """An erasure that has begun.

    Attributes:
        requested_at: events that were sent before are not stored.
        repels_until: no event that was sent before can arrive later.
        within: what is erased.
    """

    id: int
    requested_at: datetime
    repels_until: datetime
    within: Within


class UnfinishedErasure(msgspec.Struct, frozen=True):
    """An erasure that was interrupted, or is under way."""

    kind: str
    subject: str
    requested_by: str
    requested_at: datetime
    postgresql: str
    clickhouse: str


def begin(connection: Connection, subject: Subject, requested_by: str) -> Record:
    """Records the erasure, so that consumers store no events any more that were sent before."""
    within = read_within(connection, subject)
    values = {
        "namespace_ids": list(within.namespace_ids),
        "project_ids": list(within.project_ids),
        "requested_by": requested_by,
        "transit": MAX_TRANSIT,
    }
    row = connection.execute(_BEGIN, values | subject.values()).fetchone()
    if row is None:
        raise AssertionError("INSERT returns a row")
    identifier, requested_at, repels_until = row
    return Record(identifier, requested_at, repels_until, within)


def count(connection: Connection, record: Record, name: str, number: int) -> None:
    """Adds to what was removed. Call it in the transaction that removes."""
    if number:
        connection.execute(_COUNT, {"id": record.id, "name": name, "number": number})


def count_in_clickhouse(connection: Connection, record: Record, number: int) -> None:
    """Records how many events ClickHouse had, before they are removed there."""
    connection.execute(_COUNT_IN_CLICKHOUSE, {"id": record.id, "number": number})


def counts(connection: Connection, record: Record) -> dict[str, int]:
    """Returns what was removed so far, by name."""
    row = connection.execute(_READ_COUNTS, [record.id]).fetchone()
    return dict(row[0]) if row else {}


def postgresql_done(connection: Connection, record: Record) -> None:
    """Records that nothing is left in PostgreSQL."""
    connection.execute(_POSTGRESQL_DONE, [record.id])


def finish(connection: Connection, record: Record, clickhouse: str) -> None:
    """Records that the erasure is finished, with all earlier ones of the subject that were interrupted.

    Args:
        clickhouse: `done` or `off`.
    """
    connection.execute(_FINISH, record.within.subject.values() | {"id": record.id, "clickhouse": clickhouse})


def unfinished(connection: Connection) -> list[UnfinishedErasure]:
    """Returns the erasures that are not finished, oldest first."""
    return [UnfinishedErasure(*row) for row in connection.execute(_UNFINISHED)]
