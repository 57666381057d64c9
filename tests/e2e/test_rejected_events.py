"""The commands for rejected events, on the deployed stack."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from functions.shared.timestamp import format_timestamp
from infra.operations import dead_letters
from tests.e2e import translation
from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, post, publish, rows, usage_events

ATTEMPTS = "SELECT code, attempts, replayed_at IS NOT NULL FROM rejected_events WHERE body LIKE %s"
ARRIVED = """
    SELECT body::json ->> 'id' AS id, (body::json ->> 'timestamp')::timestamptz
    FROM rejected_events
    WHERE body LIKE %s
    ORDER BY id
"""
STORED = "SELECT id::text, timestamp, event, payload FROM ai_usage_events WHERE user_id = %s ORDER BY id::text"
AS_IF_IT_WAS_INTERRUPTED = "UPDATE rejected_events SET replayed_at = NULL WHERE body LIKE %s RETURNING id"


def test_an_event_that_the_consumer_rejects_is_listed_shown_and_replayed(stack: Stack, user_id: int) -> None:
    mark = f'%"user_id": {user_id}%'
    publish(stack, {"event": "code_suggestion_shown_in_ide", "user_id": user_id, "suggestion_size": "many"})
    eventually(lambda: rows(stack, ATTEMPTS, mark), [("invalid_payload", 1, False)])
    ((identifier,),) = rows(stack, "SELECT id FROM rejected_events WHERE body LIKE %s", mark)
    assert isinstance(identifier, UUID)
    assert str(identifier) in usage_events(stack, "rejected", "list", "--code", "invalid_payload", "--since", "5m")
    assert str(user_id) in usage_events(stack, "rejected", "show", str(identifier))
    assert usage_events(stack, "rejected", "replay", str(identifier)) == "1 event is on the queue again.\n"
    eventually(lambda: rows(stack, ATTEMPTS, mark), [("invalid_payload", 2, False)])


def test_a_failed_event_is_stored_once_when_replayed_after_its_definition_is_fixed(stack: Stack, user_id: int) -> None:
    mark = f'%"user_id": {user_id}%'
    text = {"event": translation.EVENT, "user_id": user_id, "target": "fr", "text": "words"}
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    named = [{"id": str(uuid4()), "timestamp": format_timestamp(an_hour_ago)} for _ in range(2)]
    before = datetime.now(UTC) - timedelta(seconds=1)  # some times are of milliseconds
    answer = post(stack, [text, text, text | named[0]])
    assert answer.status_code == 202
    publish(stack, [text, text], text | named[1])
    eventually(lambda: rows(stack, ATTEMPTS, mark), [("transformation_failed", 1, False)] * 6)
    arrived = dict(rows(stack, ARRIVED, mark))
    assert {*answer.json()["ids"], *(one["id"] for one in named)} < set(arrived)
    assert sum(moment == an_hour_ago for moment in arrived.values()) == 2
    assert sum(before < moment < datetime.now(UTC) for moment in arrived.values()) == 4

    translation.mend(stack.folder.parent, stack.aws_endpoint_url)
    replay = ("rejected", "replay", "--event", translation.EVENT)
    once = "6 events are on the queue again.\n"
    again = "0 events are on the queue again.\n6 events were already replayed.\n"
    assert [usage_events(stack, *replay) for _ in range(2)] == [once, again]
    payload = {"language": "fr", "characters": len("words")}
    stored = [(identifier, moment, translation.EVENT_ID, payload) for identifier, moment in arrived.items()]
    eventually(lambda: rows(stack, STORED, user_id), stored)
    assert usage_events(stack, *replay) == again

    assert len(rows(stack, AS_IF_IT_WAS_INTERRUPTED, mark)) == 6
    assert [usage_events(stack, *replay) for _ in range(2)] == [once, again]
    eventually(lambda: dead_letters.count(stack.sqs(), stack.queue_url), 0)
    assert rows(stack, STORED, user_id) == stored
    assert rows(stack, ATTEMPTS, mark) == [("transformation_failed", 1, True)] * 6


def test_a_dead_letter_is_shown_and_its_event_stored_when_it_is_redriven(stack: Stack, user_id: int) -> None:
    body = f'{{"event": "request_duo_chat_response", "user_id": {user_id}}}'
    stack.sqs().send_message(QueueUrl=stack.dlq_url, MessageBody=body)
    assert "1 request_duo_chat_response" in usage_events(stack, "dlq", "show")
    assert "on the queue again" in usage_events(stack, "dlq", "redrive")
    assert "Dead letters: 0" in usage_events(stack, "dlq", "show")
    find = "SELECT event FROM ai_usage_events WHERE user_id = %s"
    eventually(lambda: rows(stack, find, user_id), [(6,)])
