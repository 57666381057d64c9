"""Events of GitLab's catalogue are stored with the payload that GitLab gives them."""

import json
from typing import Any

import pytest

from tests.support.accounts import Query
from tests.support.ways_in import WaysIn

SENT = {
    "value": 7,
    "label": "chat",
    "property": "web",
    "session_id": "s-1",
    "tool_name": "search",
    "has_tool_call_success": "true",
    "failure_reason": "none",
    "error_status": "403",
    "workflow_id": "8",
    "workflow_definition": "fix",
}
SESSION = {"session_id": 7, "flow_type": "chat", "environment": "web"}
CALL = {
    "mcp_session_id": "s-1",
    "tool_name": "search",
    "has_tool_call_success": True,
    "failure_reason": "none",
    "error_status": "403",
}
STORED: dict[str, dict[str, Any]] = {
    "agent_platform_session_started": SESSION,
    "view_duo_agentic_subscription_expired_empty_state": {},
    "click_duo_agentic_subscription_expired_learn_more": {},
    "start_mcp_tool_call": CALL,
    "finish_mcp_tool_call": CALL,
    "fix_pipeline_suggestion_applied": {},
    "duo_workflow_workload_completed": {"workflow_id": 8, "workflow_definition": "fix"},
    "publish_duo_code_review_comments": {},
    "summarize_review": {},
    "ai_duo_messaging_feedback_submitted": {"feedback": "chat", "workflow_id": 7, "surface": "web"},
    "resolve_feature_discovery_search": {"resolution_tier": "chat", "latency_ms": 7},
}


@pytest.mark.parametrize("is_internal", [True, False])
def test_each_event_is_stored_with_its_payload(is_internal: bool, ways: WaysIn, query: Query) -> None:
    content = {"additional_properties": SENT} if is_internal else SENT
    events = [{"event": name, "user_id": number} | content for number, name in enumerate(STORED, 1)]
    assert ways.post(json.dumps(events).encode())[0] == 202
    ways.consume_waiting()
    rows = query("SELECT payload FROM ai_usage_events ORDER BY user_id")
    assert [row["payload"] for row in rows] == list(STORED.values())
    assert query("SELECT * FROM rejected_events") == []
