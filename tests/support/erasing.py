"""Both stores and a queue with events of a user to be erased, and of others."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.message.origin import ATTRIBUTE
from functions.shared import clickhouse
from functions.shared.partitions import first_moment, later_month, make_partitions, month_of, partition_name
from functions.sync.sync import Sync
from tests.support.clock import NOW
from tests.support.consuming import consume

USER, OTHER = 5, 6
MARKER = "e7b1f0c4a9d25386"
"""Is in each payload of the user, and in nothing of others."""
SECONDS = 60

OLD_MONTH = later_month(month_of(NOW.date()), -5)

_MANY = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    SELECT gen_random_uuid(), %(start)s::timestamptz - number * interval '1 second', 6, %(user)s,
        CASE WHEN number %% 3 > 0 THEN '27/' || number %% 3 || '/' END, nullif(number %% 2, 0),
        jsonb_build_object('language', %(text)s || number)
    FROM generate_series(1, %(count)s) AS number
"""

_TABLES = {
    "ai_usage_events": "user_id <> 5",
    "users": "id <> 5",
    "user_names": "user_id <> 5",
    "rejected_events": "body::jsonb #>> '{user,id}' <> '5'",
    "rejection_history": "true",
    "facts": "true",
    "namespaces": "true",
    "projects": "true",
}

_DIGEST = sql.SQL("SELECT count(*), md5(string_agg(row::text, ',' ORDER BY row::text)) FROM {table} AS row WHERE ")

_CLICKHOUSE_DIGEST = """
    SELECT count(), sum(sipHash64(id, timestamp, event, user_id, namespace_path, project_id, toJSONString(payload)))
    FROM ai_usage_events FINAL
    WHERE user_id <> 5
"""

_LEFT = {
    "ai_usage_events": "user_id = 5",
    "users": "id = 5",
    "user_names": "user_id = 5",
    "rejected_events": "body::jsonb #>> '{user,id}' = '5'",
    "removed_keys": "user_id = 5",
}

_COUNT = sql.SQL("SELECT count(*) FROM {table} WHERE ")


def message(body: Any, sent_at: datetime | None = None, origin: str | None = None) -> dict[str, Any]:
    """A message as Lambda hands it to the consumer; `body` may be text.

    Args:
        origin: milliseconds and id of a redriven message's origin.
    """
    moment = sent_at or datetime.now(UTC)
    return {
        "messageId": str(uuid4()),
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"SentTimestamp": str(int(moment.timestamp() * 1000)), "ApproximateReceiveCount": "1"},
        "messageAttributes": {ATTRIBUTE: {"dataType": "String", "stringValue": origin}} if origin else {},
    }


def chat(user: int = USER, **more: Any) -> dict[str, Any]:
    """An event of the user, with a name."""
    return {"event": "request_duo_chat_response", "user": {"id": user, "username": f"name-{user}"}} | more


def unknown(user: int = USER) -> dict[str, Any]:
    """An event that is rejected."""
    return {"event": "unknown", "user": {"id": user}, "secret": MARKER}


@dataclass(frozen=True)
class Stores:
    """Both stores."""

    connection: psycopg.Connection
    consumer: ConsumerHandler
    database_url: str
    clickhouse_url: str

    def sync(self) -> None:
        """Copies all that PostgreSQL has."""
        Sync(self.database_url, self.clickhouse_url).run(SECONDS)

    def fill(self, events: int, only_in_clickhouse: int, rejected: int) -> None:
        """Stores events of the user and as many of another, some of them only in ClickHouse; and rejects some."""
        make_partitions(self.connection, [OLD_MONTH])
        for start, count in ((NOW, events), (first_moment(later_month(OLD_MONTH, 1)), only_in_clickhouse)):
            for user, text in ((USER, MARKER), (OTHER, "of another ")):
                values = {"start": start, "user": user, "text": text, "count": count}
                self.connection.execute(_MANY, values)
        self.consume(chat(USER, namespace_path="27/1/"), chat(OTHER, namespace_path="27/1/"), chat(USER), chat(OTHER))
        self.consume(*(unknown(user) for user in (USER, OTHER) for _ in range(rejected)))
        self.sync()
        self.connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition_name(OLD_MONTH))))

    def consume(self, *bodies: Any, sent_at: datetime | None = None) -> None:
        """Hands the bodies to the consumer, all in one message."""
        assert consume(self.consumer, message(list(bodies), sent_at)) == []

    def of_others(self) -> Sequence[Any]:
        """Digests of everything that is not the user's, in both stores."""
        rows = [
            self.connection.execute(_DIGEST.format(table=sql.Identifier(table)) + sql.SQL(condition)).fetchone()
            for table, condition in _TABLES.items()
        ]
        with closing(clickhouse.connect(self.clickhouse_url, SECONDS)) as client:
            return [*rows, *client.query(_CLICKHOUSE_DIGEST).result_rows]

    def left(self) -> dict[str, int]:
        """How many rows each table has of the user."""
        counts = {}
        for table, condition in _LEFT.items():
            statement = _COUNT.format(table=sql.Identifier(table)) + sql.SQL(condition)
            counts[table] = int(self.connection.execute(statement).fetchall()[0][0])
        with closing(clickhouse.connect(self.clickhouse_url, SECONDS)) as client:
            of_user = "SELECT count() FROM ai_usage_events WHERE user_id = 5"
            counts["ClickHouse"] = int(client.query(of_user).result_rows[0][0])
        return counts
