"""The columns of a stored event: the consumer, the sync and both readers make their statements of this list.

A new column is a line here, a migration of each store, and what differs: how the consumer fills it, and what a reader
answers of it. Columns that no reader asks for, like `xact_id`, are not among them.
"""

from typing import NamedTuple


class EventColumn(NamedTuple):
    """A column of `ai_usage_events`, which both stores have under one name.

    Attributes:
        postgres_type: the type that it has in PostgreSQL.
    """

    name: str
    postgres_type: str


COLUMNS = (
    EventColumn("id", "uuid"),
    EventColumn("timestamp", "timestamptz"),
    EventColumn("event", "smallint"),
    EventColumn("user_id", "bigint"),
    EventColumn("namespace_path", "text"),
    EventColumn("payload", "jsonb"),
)
NAMES = tuple(column.name for column in COLUMNS)
NAMES_BESIDE_PAYLOAD = tuple(name for name in NAMES if name != "payload")
"""What readers always ask for; of a payload they may ask for nothing, or for parts."""

ALL = ", ".join(NAMES)
ALL_WITH_TYPES = ", ".join(f"{column.name} {column.postgres_type}" for column in COLUMNS)
"""The columns of a table in PostgreSQL that holds events for a while."""


def beside_payload(table: str) -> str:
    """The columns but the payload, as a statement names them that gives the table this name.

    >>> beside_payload("events")
    'events.id, events.timestamp, events.event, events.user_id, events.namespace_path'
    """
    return ", ".join(f"{table}.{name}" for name in NAMES_BESIDE_PAYLOAD)
