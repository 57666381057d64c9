"""ClickHouse, enabled in a stack that was deployed without it."""

import json
from contextlib import closing
from datetime import UTC
from typing import Any

from functions.shared import clickhouse
from tests.e2e.conftest import Stack
from tests.e2e.following import follow, run
from tests.e2e.reading import (
    assert_gitlabs_queries_are_answered,
    assert_the_new_definition_is_answered,
    send_what_is_asked_for,
)
from tests.e2e.use import answer_of, eventually, post, rows
from tests.support import documentation

CHAT = {"event": "request_duo_chat_response"}
SECONDS = 60
BACKFILLED_WITHIN_SECONDS = 300
SEEN_WITHIN_SECONDS = 120

POSTGRES_ROWS = """
    SELECT id::text, timestamp, event, user_id, namespace_path, payload FROM ai_usage_events ORDER BY id, timestamp
"""
CLICKHOUSE_ROWS = """
    SELECT toString(id), timestamp, event, user_id, namespace_path, toJSONString(payload)
    FROM ai_usage_events FINAL
    ORDER BY UUIDToNum(id), timestamp
"""
SOURCE = "query ($user: ID!) { aiInstanceUsageData { all(userIds: [$user]) { nodes { id } } } }"


def in_clickhouse(stack: Stack) -> list[Any]:
    with closing(clickhouse.connect(stack.clickhouse_url, SECONDS)) as client:
        if clickhouse.target_of(client) is None:
            return []
        found = client.query(CLICKHOUSE_ROWS, settings=clickhouse.READ_SETTINGS).result_rows
    return [
        (identifier, timestamp.replace(tzinfo=UTC), event, user_id, path or None, json.loads(payload))
        for identifier, timestamp, event, user_id, path, payload in found
    ]


def test_everything_from_the_first_row_on_is_brought_to_clickhouse_by_the_schedule(
    with_clickhouse: Stack, user_id: int
) -> None:
    stack = with_clickhouse
    assert post(stack, [CHAT | {"user_id": user_id}] * 50).status_code == 202
    count = "SELECT count(*) FROM ai_usage_events WHERE user_id = %s"
    eventually(lambda: rows(stack, count, user_id), [(50,)])
    stored = rows(stack, POSTGRES_ROWS)
    eventually(lambda: len(in_clickhouse(stack)), len(stored), BACKFILLED_WITHIN_SECONDS)
    assert in_clickhouse(stack) == stored


def test_what_comes_later_is_read_from_clickhouse_with_the_same_answers(with_clickhouse: Stack, user_id: int) -> None:
    stack = with_clickhouse
    send_what_is_asked_for(stack, user_id)

    def seen() -> tuple[str, int]:
        answer = answer_of(stack, SOURCE, user=str(user_id))
        return answer["extensions"]["source"], len(answer["data"]["aiInstanceUsageData"]["all"]["nodes"])

    eventually(seen, ("clickhouse", 6), SEEN_WITHIN_SECONDS)
    assert_gitlabs_queries_are_answered(stack, user_id)
    assert_the_new_definition_is_answered(stack, user_id)


def test_the_last_step_of_the_tutorial_finds_its_event_in_clickhouse(with_clickhouse: Stack) -> None:
    stack = with_clickhouse
    follow(stack, "4. Send the event")
    (_, select) = documentation.commands(documentation.section(documentation.TUTORIAL, "8. Look into the stores"))

    def found() -> set[str]:
        return set(run(stack, select).splitlines())  # other tests may have sent the same event

    eventually(found, set(select.output.splitlines()), SEEN_WITHIN_SECONDS)
