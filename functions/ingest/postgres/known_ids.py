"""Finds the ids that are already stored, in the row's month or another one, and the events that have them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from uuid import UUID

from functions.ingest.postgres.row import EVERY_MONTH, Row, month_number, month_start
from functions.shared.postgres import Connection

# Waits for each id that another open transaction holds. All transactions lock their ids before writing and in the same
# order, so no two transactions wait for each other.
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
"""Event type id and user id. Two events with the same id are the same event if these are equal."""


class KnownIds:
    """The stored or soon stored identities of ids, by id and month."""

    def __init__(self) -> None:
        self._identities: dict[UUID, dict[int, Identity]] = defaultdict(dict)

    def add(self, row: Row) -> None:
        """Adds a row that will be written."""
        self._identities[row.id].setdefault(row.month, identity_of(row))

    def look_up(self, rows: Sequence[Row], connection: Connection) -> None:
        """Loads what is stored under the rows' ids in the other months that are possible."""
        ids: dict[int, list[UUID]] = defaultdict(list)
        for row in rows:
            ids[row.other_month].append(row.id)
        for month, some in ids.items():
            for identifier, number, identity in _stored(some, month, connection):
                self._identities[identifier][number] = identity

    def elsewhere(self, row: Row) -> Collection[Identity]:
        """Returns the identities under the row's id, in its own month and in possible other months."""
        known = self._identities.get(row.id)
        if not known:
            return ()
        if row.other_month == EVERY_MONTH:
            return known.values()
        return [known[month] for month in (row.other_month, row.month) if month in known]


@contextmanager
def ids_locked(rows: Iterable[Row], connection: Connection) -> Iterator[None]:
    """Locks the ids of the rows within the block; other transactions wait before they lock one of these ids.

    Waiting transactions continue when this one ends, and see the rows it stored. No lock outlives the transaction.
    """
    ids = list({row.id for row in rows})
    if ids:
        connection.execute(_LOCK_IDS, [ids])
    yield
    if ids:
        connection.execute(_UNLOCK_IDS, [ids])


def identity_of(row: Row) -> Identity:
    """Returns the row's identity."""
    return row.event, row.user_id


def without_stored(rows: Iterable[Row], connection: Connection) -> tuple[list[Row], list[Row]]:
    """Splits off the rows whose id is stored in the same month.

    Returns:
        The rows that are not stored, and the rows whose id belongs to an event with another name or user.
    """
    by_month: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_month[row.month].append(row)
    unknown, conflicts = list[Row](), list[Row]()
    for month, some in by_month.items():
        stored = {
            identifier: identity for identifier, _, identity in _stored([row.id for row in some], month, connection)
        }
        unknown += [row for row in some if row.id not in stored]
        conflicts += [row for row in some if stored.get(row.id, identity_of(row)) != identity_of(row)]
    return unknown, conflicts


def _stored(ids: list[UUID], month: int, connection: Connection) -> Iterator[tuple[UUID, int, Identity]]:
    """Yields id, month number and identity of each of these ids that is stored in the month, or in any month."""
    if month == EVERY_MONTH:
        found = connection.execute(_STORED, [ids])
    else:
        found = connection.execute(_STORED_IN_MONTH, [ids, month_start(month), month_start(month + 1)])
    for identifier, timestamp, event, user_id in found:
        yield identifier, month_number(timestamp.astimezone(UTC)), (event, user_id)
