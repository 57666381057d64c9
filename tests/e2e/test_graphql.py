"""GraphQL on the deployed stack without ClickHouse."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from functions.shared.timestamp import format_timestamp
from tests.e2e.conftest import Stack
from tests.e2e.reading import (
    assert_gitlabs_queries_are_answered,
    assert_the_new_definition_is_answered,
    send_what_is_asked_for,
)
from tests.e2e.use import STORED_WITHIN_SECONDS, eventually, graphql, post, rows

OLDER, ARRIVING, PER_REQUEST = 2_000, 10_000, 500

PAGE = """
    query ($path: ID!, $after: String) {
        namespace(fullPath: $path) {
            aiUsageData {
                all(first: 500, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } }
            }
        }
    }
"""
COUNT = "SELECT count(*) FROM ai_usage_events WHERE user_id = %s"


def test_the_queries_of_gitlabs_documentation_and_of_a_new_definition_are_answered(stack: Stack, user_id: int) -> None:
    send_what_is_asked_for(stack, user_id)
    eventually(lambda: rows(stack, COUNT, user_id), [(6,)])
    assert_gitlabs_queries_are_answered(stack, user_id)
    assert_the_new_definition_is_answered(stack, user_id)


def test_a_reader_sees_each_older_event_once_while_others_arrive(stack: Stack, user_id: int) -> None:
    path = f"{user_id}/"
    start = datetime.now(UTC) - timedelta(days=2)
    older = send(stack, user_id, path, [start + timedelta(seconds=10 * number) for number in range(OLDER)])
    eventually(lambda: rows(stack, COUNT, user_id), [(OLDER,)])
    # Every other one comes between the older ones, where the reader may see it or not.
    arriving = [start + timedelta(seconds=2 * number + 1) if number % 2 else None for number in range(ARRIVING)]
    with ThreadPoolExecutor(1) as executor:
        reading = pages(stack, path)
        first = next(reading)
        sending = executor.submit(send, stack, user_id, path, arriving)
        seen = [[*first, *chain.from_iterable(reading)]]
        give_up = time.monotonic() + STORED_WITHIN_SECONDS
        while len(seen[-1]) < OLDER + ARRIVING and time.monotonic() < give_up:
            seen.append([*chain.from_iterable(pages(stack, path))])
    assert len(sending.result()) == ARRIVING
    for identifiers in seen:
        assert set(older) <= set(identifiers)
        assert len(set(identifiers)) == len(identifiers)
    assert len(seen[0]) < len(seen[-1]) == OLDER + ARRIVING


def send(stack: Stack, user_id: int, path: str, moments: list[datetime] | list[datetime | None]) -> list[str]:
    """Sends an event for each moment (None: now), and returns their ids."""
    ids: list[str] = []
    for first in range(0, len(moments), PER_REQUEST):
        request = [
            {"event": "request_duo_chat_response", "user_id": user_id, "namespace_path": path}
            | ({"timestamp": format_timestamp(moment)} if moment else {})
            for moment in moments[first : first + PER_REQUEST]
        ]
        ids += post(stack, request).json()["ids"]
    return ids


def pages(stack: Stack, path: str) -> Iterator[list[str]]:
    """The ids on each page."""
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        answer = graphql(stack, PAGE, path=path, after=info["endCursor"])
        page = answer["namespace"]["aiUsageData"]["all"]
        info = page["pageInfo"]
        yield [node["id"] for node in page["nodes"]]
