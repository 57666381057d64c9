"""Finds and deletes the rejected events of a user or a namespace."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.event.concerned import concerned_by
from functions.shared.grant import Grant
from functions.shared.postgres import Connection
from infra.operations.erasure.record import Record, count
from infra.operations.erasure.subject import Within

_ROWS_AT_ONCE = 500

_NO_ID = UUID(int=0)

_PAGE = """
    SELECT id, body, sender_grant
    FROM rejected_events
    WHERE id > %s
    ORDER BY id
    LIMIT %s
"""

_DELETE = "DELETE FROM rejected_events WHERE id = ANY(%s)"


class Found(msgspec.Struct):
    """Rejected events that concern a subject.

    Attributes:
        own: ids of the rows that concern nobody else.
        shared: ids of the rows that concern others too.
    """

    own: list[UUID] = []
    shared: list[UUID] = []


def find(connection: Connection, within: Within) -> Iterator[Found]:
    """Yields what was found in some rows at a time, by the ingest's own reading of each body."""
    last = _NO_ID
    while rows := connection.execute(_PAGE, [last, _ROWS_AT_ONCE]).fetchall():
        found = Found()
        for identifier, body, grant in rows:
            belongs = [within.includes(concerned) for concerned in concerned_by(body, _grant(grant))]
            if any(belongs):
                (found.own if all(belongs) else found.shared).append(identifier)
        yield found
        last = rows[-1][0]


def delete_rejected(connection: Connection, record: Record) -> list[UUID]:
    """Deletes the rejected events of the subject with their earlier reasons; counts them in the record.

    Returns:
        Ids of the rows that concern others too; they stay.
    """
    shared = list[UUID]()
    for found in find(connection, record.within):
        shared += found.shared
        if found.own:
            with connection.transaction():
                deleted = connection.execute(_DELETE, [found.own]).rowcount
                count(connection, record, "rejected events", deleted)
    return shared


def _grant(stored: dict[str, Any] | None) -> Grant | None:
    """Returns the parts of a stored grant that matter here, also of one that is older than the limits on grants."""
    if stored is None:
        return None
    return Grant(str(stored.get("sub", "")), scopes=(), namespaces=tuple(stored.get("namespaces", ())))
