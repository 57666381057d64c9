"""Random events, and random arguments that select some of them."""

from datetime import datetime, time, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg

from functions.ingest.event.storable import normalised
from functions.ingest.payload_encoder import encode_payload
from tests.support.clock import NOW
from tests.support.metrics_model import Event, Model

EVENTS = 400
TODAY = NOW.date()
PATHS = ["27/", "27/28/", "27/28/5/", "27/281/", "27/29/", "3/", None]
PROJECTS = [4, 4, 5, 2**63 - 1, None]

_SIZES: list[Any] = [1, 5, 5.0, 2.5, -0.0, "5", True, [5], {"a": 5}, None, 2**63 - 1, 2**64 - 1, 2**53 + 1, 1e20]
_LANGUAGES: list[Any] = ["ruby", "go", "Go", "é", "", "😀", "\uffff", "1", 1, 1.0, True, False, ["ruby"], None]
_TIMES_OF_DAY = (timedelta(0), timedelta(hours=12), timedelta(days=1) - timedelta(microseconds=1))
_INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

# The declarations of a query's variables that are filters, and how it hands them on.
FILTERS = """
    $startDate: Date, $endDate: Date, $events: [AiUsageEventType!], $features: [AiUsageFeature!],
    $userIds: [ID!], $projectIds: [ID!], $payload: [PayloadFilter!], $not: AiUsageExclusion
"""
GIVEN = """
    startDate: $startDate, endDate: $endDate, events: $events, features: $features,
    userIds: $userIds, projectIds: $projectIds, payload: $payload, not: $not
"""


def random_events(chance: Random) -> list[Event]:
    """Returns events of three months, with payloads of all sorts."""
    midnight = datetime.combine(TODAY, time(), NOW.tzinfo)
    return [
        Event(
            timestamp=midnight
            - timedelta(days=chance.choice([0, 1, 2, 6, 7, 8, 13, 14, 20, 27, 28, 29, 30, 31, 32, 45, 59, 60, 61]))
            + chance.choice(_TIMES_OF_DAY),
            event=chance.choice([*range(1, 23), 2, 3, 6, 2, 3, 6, 1001, 1001, 1002, 32_000]),
            user=chance.choice([1, 2, 3, 5, 8, 13, 2**62, 2**63 - 1]),
            path=chance.choice(PATHS),
            project=chance.choice(PROJECTS),
            payload=normalised({"suggestion_size": chance.choice(_SIZES), "language": chance.choice(_LANGUAGES)}),
        )
        for _ in range(EVENTS)
    ]


def random_filters(chance: Random) -> dict[str, Any]:
    """Returns arguments that select some of the events."""
    start, end = sorted((chance.choice([0, 1, 2, 5, 6, 7, 12, 13, 14, 30, 59, 75]) for _ in range(2)), reverse=True)
    filters: dict[str, Any] = {
        "startDate": (TODAY - timedelta(days=start)).isoformat(),
        "endDate": (TODAY - timedelta(days=end)).isoformat(),
    }
    optional: dict[str, list[Any]] = {
        "events": [["CODE_SUGGESTION_SHOWN_IN_IDE", "REQUEST_DUO_CHAT_RESPONSE"], [], ["TROUBLESHOOT_JOB"]],
        "features": [["CODE_SUGGESTIONS"], ["CHAT", "CODE_REVIEW"], ["CHAT", "SEATS"]],
        "not": [{"features": ["CHAT"]}, {"events": ["TROUBLESHOOT_JOB"], "features": []}],
        "userIds": [["1", "2", "99"], ["1", str(2**63 - 1)]],
        "projectIds": [["4"], ["5", "99", str(2**63 - 1)]],
        "payload": [
            [{"path": "suggestion_size", "gte": 2}],
            [{"path": "language", "in": ["ruby", "go", 1]}, {"path": "suggestion_size", "exists": True}],
            [{"path": "language", "ne": "ruby"}],
            [{"not": {"path": "language", "in": ["ruby", "go"]}}],
            [{"any": [{"path": "language", "startsWith": "r"}, {"path": "suggestion_size", "gte": 6}]}],
        ],
    }
    return filters | {name: chance.choice(values) for name, values in optional.items() if chance.random() < 0.3}


def store(connection: psycopg.Connection, events: list[Event]) -> None:
    """Stores the events as the consumer does."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _INSERT,
            [
                (
                    UUID(int=number),
                    event.timestamp,
                    event.event,
                    event.user,
                    event.path,
                    event.project,
                    encode_payload(event.payload).decode(),
                )
                for number, event in enumerate(events)
            ],
        )


def model_of(events: list[Event], namespaces: list[str]) -> Model:
    """Returns the model of the answers to a token for the namespaces."""
    return Model(events, None if namespaces == ["*"] else tuple(namespaces))
