"""Events as ClickHouse has them."""

from datetime import UTC
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.graphql.event_query import EventQuery, QueryTooSlow, StoredEvent, StoreUnavailable, end_of_namespace
from functions.shared.clickhouse import READ_SETTINGS

# A row that was sent twice counts once. Both are in the partition of their month, so no other need be looked at.
_SETTINGS = READ_SETTINGS | {"do_not_merge_across_partitions_select_final": 1, "max_execution_time": 20}
_TIMEOUT_EXCEEDED = 159

# The payloads, by far the largest column, are read only for the few rows of the page, which are found by their key.
# ClickHouse compares UUIDs by their second halves; as bytes they are in the order of their text, as in PostgreSQL.
_EVENTS = """
    SELECT id, timestamp, event, user_id, namespace_path, toJSONString(payload)
    FROM ai_usage_events FINAL
    WHERE (namespace_path, event, timestamp, id) IN (
        SELECT namespace_path, event, timestamp, id
        FROM ai_usage_events FINAL
        WHERE {asked_for}
        ORDER BY timestamp DESC, UUIDToNum(id) DESC
        LIMIT {{limit:UInt32}}
    )
    ORDER BY timestamp DESC, UUIDToNum(id) DESC
"""

_WITHIN_PERIOD = """
    timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
    AND event IN {event_ids:Array(UInt16)}
"""
_OF_USERS = "user_id IN {user_ids:Array(UInt64)}"
_WITHIN_NAMESPACE = "namespace_path >= {{low_{number}:String}} AND namespace_path < {{high_{number}:String}}"
_AFTER_POSITION = """
    timestamp <= {after_timestamp:DateTime64(6, 'UTC')}
    AND (timestamp, UUIDToNum(id)) < ({after_timestamp:DateTime64(6, 'UTC')}, UUIDToNum({after_id:UUID}))
"""


class ClickHouseStore:
    """The events that ClickHouse keeps."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """As `EventStore.events`."""
        if query.selects_nothing:
            return []
        conditions, values = _asked_for(query)
        statement = _EVENTS.format(asked_for=" AND ".join(conditions))
        try:
            rows = self._client.query(statement, parameters=values, settings=_SETTINGS).result_rows
        except ClickHouseError as error:
            if getattr(error, "code", None) == _TIMEOUT_EXCEEDED:
                raise QueryTooSlow from error
            raise StoreUnavailable from error
        return [
            StoredEvent(
                identifier,
                timestamp.replace(tzinfo=UTC),
                event,
                user_id,
                namespace_path or None,
                msgspec.Raw(payload.encode()),
            )
            for identifier, timestamp, event, user_id, namespace_path, payload in rows
        ]


def _asked_for(query: EventQuery) -> tuple[list[str], dict[str, Any]]:
    """The conditions that the query's events fulfil, and the values that are bound in them."""
    values: dict[str, Any] = {
        "start": query.start,
        "end": query.end,
        "event_ids": list(query.event_ids),
        "limit": query.limit,
    }
    conditions = [_WITHIN_PERIOD]
    if query.user_ids is not None:
        values["user_ids"] = list(query.user_ids)
        conditions.append(_OF_USERS)
    if query.namespaces is not None:
        for number, path in enumerate(query.namespaces):
            values |= {f"low_{number}": path, f"high_{number}": end_of_namespace(path)}
        within = [_WITHIN_NAMESPACE.format(number=number) for number in range(len(query.namespaces))]
        conditions.append(f"({' OR '.join(within)})")
    if query.after is not None:
        values |= {"after_timestamp": query.after.timestamp, "after_id": query.after.id}
        conditions.append(_AFTER_POSITION)
    return conditions, values
