"""Which ids are stored already: in the month of a row or in another one, and by which event."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from uuid import UUID

from functions.ingest.postgres.row import EVERY_MONTH, Row, month_number, month_start
from functions.shared.postgres import Connection

# It waits for each id that another transaction holds, and goes on when that one has ended. Ids are claimed before
# anything is written, and in their order, so that no two transactions wait for each other.
_LOCK_IDS = """
    INSERT INTO claimed_ids (id)
    SELECT id
    FROM unnest(%s::uuid[]) AS id
    ORDER BY id
    ON CONFLICT DO NOTHING
"""

_UNLOCK_IDS = "DELETE FROM claimed_ids WHERE id = ANY(%s)"

_STORED = "SELECT id, timestamp, event, user_id FROM ai_usage_events WHERE id = ANY(%s)"

_STORED_IN_MONTH = f"{_STORED} AND timestamp >= %s AND timestamp < %s"

type Identity = tuple[int, int]
"""The number of an event's name, and its user: what two events with one id have in common if they are the same."""


class KnownIds:
    """What is stored, or about to be, of some ids: by id and month."""

    def __init__(self) -> None:
        self._identities: dict[UUID, dict[int, Identity]] = defaultdict(dict)

    def add(self, row: Row) -> None:
        """Notes a row that is to be written."""
        self._identities[row.id].setdefault(row.month, identity_of(row))

    def look_up(self, rows: Sequence[Row], connection: Connection) -> None:
        """Notes what is stored of the rows' ids in the other months that they may be in."""
        ids: dict[int, list[UUID]] = defaultdict(list)
        for row in rows:
            ids[row.other_month].append(row.id)
        for month, some in ids.items():
            for identifier, number, identity in _stored(some, month, connection):
                self._identities[identifier][number] = identity

    def elsewhere(self, row: Row) -> Collection[Identity]:
        """The events that have the row's id in its month, or in another one that it may be in."""
        known = self._identities.get(row.id)
        if not known:
            return ()
        if row.other_month == EVERY_MONTH:
            return known.values()
        return [known[month] for month in (row.other_month, row.month) if month in known]


@contextmanager
def ids_locked(rows: Iterable[Row], connection: Connection) -> Iterator[None]:
    """Holds the ids of the rows within the block: other transactions that claim one of them wait.

    They go on once this transaction has ended, and see what it stored. Nothing of the claim outlives the transaction.
    """
    ids = list({row.id for row in rows})
    if ids:
        connection.execute(_LOCK_IDS, [ids])
    yield
    if ids:
        connection.execute(_UNLOCK_IDS, [ids])


def identity_of(row: Row) -> Identity:
    """What the row has in common with those of the same event."""
    return row.event, row.user_id


def conflicting(rows: Iterable[Row], connection: Connection) -> list[Row]:
    """Those of the rows whose id is stored, in their month, of an event with another name or user."""
    by_month: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_month[row.month].append(row)
    conflicts = []
    for month, some in by_month.items():
        stored = {
            identifier: identity for identifier, _, identity in _stored([row.id for row in some], month, connection)
        }
        conflicts += [row for row in some if stored.get(row.id, identity_of(row)) != identity_of(row)]
    return conflicts


def _stored(ids: list[UUID], month: int, connection: Connection) -> Iterator[tuple[UUID, int, Identity]]:
    """Of those of the ids that are stored in that month, or in any: the id, the month's number, and whose it is."""
    if month == EVERY_MONTH:
        found = connection.execute(_STORED, [ids])
    else:
        found = connection.execute(_STORED_IN_MONTH, [ids, month_start(month), month_start(month + 1)])
    for identifier, timestamp, event, user_id in found:
        yield identifier, month_number(timestamp.astimezone(UTC)), (event, user_id)
