"""Lists the columns of a stored event, from which the consumer, the sync and both readers build statements.

A new column needs a line here, a migration of each store, the code of the consumer that fills it, and the code of the
readers that returns it. Columns that readers never query, like `xact_id`, are not listed.
"""

from typing import NamedTuple


class EventColumn(NamedTuple):
    """A column of `ai_usage_events`, with the same name in both stores.

    Attributes:
        postgres_type: type of the column in PostgreSQL.
    """

    name: str
    postgres_type: str


COLUMNS = (
    EventColumn("id", "uuid"),
    EventColumn("timestamp", "timestamptz"),
    EventColumn("event", "smallint"),
    EventColumn("user_id", "bigint"),
    EventColumn("namespace_path", "text"),
    EventColumn("project_id", "bigint"),
    EventColumn("payload", "jsonb"),
)
NAMES = tuple(column.name for column in COLUMNS)
NAMES_BESIDE_PAYLOAD = tuple(name for name in NAMES if name != "payload")
"""Columns that readers always query; they may query the payload in parts or not at all."""

ALL = ", ".join(NAMES)
ALL_WITH_TYPES = ", ".join(f"{column.name} {column.postgres_type}" for column in COLUMNS)
"""Column definitions for a temporary table of events in PostgreSQL."""


def beside_payload(table: str) -> str:
    """Returns all columns except the payload, qualified by the name of the table.

    >>> beside_payload("events")
    'events.id, events.timestamp, events.event, events.user_id, events.namespace_path, events.project_id'
    """
    return ", ".join(f"{table}.{name}" for name in NAMES_BESIDE_PAYLOAD)
