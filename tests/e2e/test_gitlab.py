"""The request in GitLab's documentation, sent to the deployed stack."""

import json
from datetime import timedelta

import pytest

from functions.ingest.formats.gitlab import TRACK_EVENT_PATH
from infra.operations.token import sign
from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, rows
from tests.support import plain_http
from tests.support.gitlab import ACCEPTED, ACCEPTED_PAYLOAD, SENT_AT


@pytest.mark.parametrize(("name", "scheme"), [("PRIVATE-TOKEN", ""), ("Authorization", "Bearer ")])
@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
def test_what_curl_sends_to_gitlab_is_stored_for_the_tokens_user(
    media_type: str, name: str, scheme: str, stack: Stack, user_id: int
) -> None:
    token = sign(stack.auth_secret, str(user_id), ["events:write:own"], [], timedelta(minutes=5))
    headers = {"User-Agent": "curl/8.14.1", "Accept": "*/*", "Content-Type": media_type, name: f"{scheme}{token}"}
    url = f"{stack.api_url}{TRACK_EVENT_PATH}"
    response = plain_http.post(url, content=json.dumps(ACCEPTED).encode(), headers=headers, timeout=60)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    find = "SELECT event, timestamp, payload FROM ai_usage_events WHERE user_id = %s"
    eventually(lambda: rows(stack, find, user_id), [(3, SENT_AT, ACCEPTED_PAYLOAD)])
