import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.message.origin import ATTRIBUTE, Origin, origin_of
from infra.cli import app
from infra.operations import dead_letters
from tests.support.consuming import Queues

CHAT = json.dumps({"event": "request_duo_chat_response", "user_id": 1})

type Stored = Callable[[], list[Any]]


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield lambda: connection.execute("SELECT id, timestamp FROM ai_usage_events ORDER BY id").fetchall()


def dlq(queues: Queues, *arguments: str) -> Any:
    with patch.dict(os.environ):
        return CliRunner().invoke(app, ["dlq", *arguments], env={"QUEUE_URL": queues.url, "DATABASE_URL": "none"})


def waiting(queues: Queues, url: str) -> int:
    attributes = queues.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def test_redriven_events_have_the_ids_and_times_that_they_would_have_had(
    queues: Queues, consumer: ConsumerHandler, stored: Stored
) -> None:
    before = queues.bury(*[f"[{CHAT}, {CHAT}]"] * 15, producer="editor")
    consumer({"Records": before}, None)  # the answer that they are stored was lost
    rows = stored()
    assert len(rows) == 30
    assert dlq(queues, "redrive").output == "15 messages are on the queue again.\n"
    again = queues.records()
    assert {record["messageId"] for record in again}.isdisjoint(record["messageId"] for record in before)
    assert all(record["messageAttributes"]["producer"]["stringValue"] == "editor" for record in again)
    assert sorted(record["body"] for record in again) == sorted(record["body"] for record in before)
    assert consumer({"Records": again}, None) == {"batchItemFailures": []}
    assert stored() == rows
    assert waiting(queues, queues.dead_letter_url) == 0


def test_a_crash_between_sending_and_deleting_makes_no_second_events(
    queues: Queues, consumer: ConsumerHandler, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues.bury(CHAT, CHAT)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dead_letters, "_HIDDEN_SECONDS", 0)
    with monkeypatch.context() as patched:
        patched.setattr(dead_letters, "_delete", crash)
        assert dlq(queues, "redrive").exit_code != 0
    assert dlq(queues, "redrive").exit_code == 0
    assert waiting(queues, queues.url) == 4
    queues.consume(consumer)
    assert len(stored()) == 2


def test_a_message_that_is_buried_and_redriven_again_keeps_what_it_had_at_first(queues: Queues) -> None:
    (first,) = queues.bury(CHAT)
    for _ in range(2):
        assert dlq(queues, "redrive").exit_code == 0
        (again,) = queues.records()
        assert again["messageId"] != first["messageId"]
        assert origin_of(again) == origin_of(first)
        queues.sqs.change_message_visibility(
            QueueUrl=queues.url, ReceiptHandle=again["receiptHandle"], VisibilityTimeout=0
        )
        assert queues.records() == []  # it is a dead letter once more


def test_what_is_shown_stays_a_dead_letter_that_others_can_see_at_once(queues: Queues) -> None:
    named = r'[{"event": "[/unknown]"}, {"event": "\u001b[2J\u009b"}]'
    buried = queues.bury(f"[{CHAT}, {CHAT}, {named[1:]}", *["\x1b[2J no JSON"] * 11)
    for limit, rows in ((None, 12), ("3", 3)):
        output = dlq(queues, "show", *(["--limit", limit] if limit else [])).output
        assert "Dead letters: 12" in output
        assert sum(record["messageId"] in output for record in buried) == rows
        assert waiting(queues, queues.dead_letter_url) == 12
    everything = dlq(queues, "show").output
    assert all(part in everything for part in ("2 request_duo_chat_response", "1 [/unknown]", "1 \ufffd[2J\ufffd"))
    assert everything.count("1 unreadable") == 11
    assert all(character.isprintable() or character == "\n" for character in everything)


def test_what_the_queue_does_not_take_stays_a_dead_letter(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    queues.bury(*[CHAT] * 25)
    send = queues.sqs.send_message_batch
    refused: list[str] = []

    def refuse_each_third(_: Any, _url: str, bodies: list[bytes], *_others: Any) -> set[int]:
        indexes = set(range(0, len(bodies), 3))
        refused.extend("x" for _ in indexes)
        entries = [{"Id": str(index), "MessageBody": bodies[index].decode()} for index in range(len(bodies))]
        send(QueueUrl=queues.url, Entries=[one for one in entries if int(one["Id"]) not in indexes])  # type: ignore[misc]
        return indexes

    monkeypatch.setattr("functions.shared.queue.send", refuse_each_third)
    result = dlq(queues, "redrive")
    assert result.exit_code == 1
    assert f"{len(refused)} dead letters were not accepted by the queue." in result.output
    assert waiting(queues, queues.url) == 25 - len(refused)
    assert waiting(queues, queues.dead_letter_url) == len(refused)


def test_a_queue_without_dead_letters_or_that_can_not_be_reached_is_explained(queues: Queues) -> None:
    queues.sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"RedrivePolicy": ""})
    for command in ("show", "redrive"):
        result = dlq(queues, command)
        assert (result.exit_code, result.output) == (1, "The queue has no dead-letter queue.\n")
    queues.sqs.delete_queue(QueueUrl=queues.url)
    assert dlq(queues, "show").exit_code == 1
    assert not isinstance(dlq(queues, "show").exception, ClientError)


@pytest.mark.parametrize(
    "told", [None, "", "x", "1764000000000", " id", "-5 id", f"{10**20} id", "1.5 id", "² id", "253402300799000 id"]
)
def test_an_attribute_that_is_none_of_ours_counts_as_if_it_was_not_there(told: str | None) -> None:
    attributes = {} if told is None else {ATTRIBUTE: {"dataType": "String", "stringValue": told}}
    record = {"messageId": "own", "attributes": {"SentTimestamp": "1764000000123"}, "messageAttributes": attributes}
    assert origin_of(record) == Origin("own", datetime.fromtimestamp(1764000000, UTC) + timedelta(milliseconds=123))
