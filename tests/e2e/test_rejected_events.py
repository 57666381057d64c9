"""What the deployed stack could not store, on the command line."""

import subprocess
import sys
from uuid import UUID

from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, publish, rows

ATTEMPTS = "SELECT code, attempts, replayed_at IS NOT NULL FROM rejected_events WHERE body LIKE %s"


def usage_events(stack: Stack, *arguments: str) -> str:
    """What the command prints in the folder of the stack, where it finds it by itself."""
    command = [sys.executable, "-m", "infra.cli", *arguments]
    folder = stack.folder.parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_event_that_the_consumer_rejects_is_listed_shown_and_replayed(stack: Stack, user_id: int) -> None:
    mark = f'%"user_id": {user_id}%'
    publish(stack, {"event": "code_suggestion_shown_in_ide", "user_id": user_id, "suggestion_size": "many"})
    eventually(lambda: rows(stack, ATTEMPTS, mark), [("invalid_payload", 1, False)])
    ((identifier,),) = rows(stack, "SELECT id FROM rejected_events WHERE body LIKE %s", mark)
    assert isinstance(identifier, UUID)
    assert str(identifier) in usage_events(stack, "rejected", "list", "--code", "invalid_payload", "--since", "5m")
    assert str(user_id) in usage_events(stack, "rejected", "show", str(identifier))
    assert usage_events(stack, "rejected", "replay", str(identifier)) == "1 events are on the queue again.\n"
    eventually(lambda: rows(stack, ATTEMPTS, mark), [("invalid_payload", 2, False)])


def test_a_dead_letter_is_shown_and_its_event_stored_when_it_is_redriven(stack: Stack, user_id: int) -> None:
    body = f'{{"event": "request_duo_chat_response", "user_id": {user_id}}}'
    stack.sqs().send_message(QueueUrl=stack.dlq_url, MessageBody=body)
    assert "1 request_duo_chat_response" in usage_events(stack, "dlq", "show")
    assert "on the queue again" in usage_events(stack, "dlq", "redrive")
    assert "Dead letters: 0" in usage_events(stack, "dlq", "show")
    find = "SELECT event FROM ai_usage_events WHERE user_id = %s"
    eventually(lambda: rows(stack, find, user_id), [(6,)])
