"""What `make demo` says of events that it can't send as their definitions need them."""

import json
from uuid import UUID

import pytest

from infra.local import demo
from infra.stack_file import Stack
from tests.support.ways_in import WaysIn

STORED = UUID("5d0e3581-63a2-4eed-8bbc-1277f727feae")
REJECTED = UUID("0b1b2f3e-8a51-4b0c-9a52-6b6c7f3a9f10")


def test_an_event_that_needs_more_context_is_named_and_not_waited_for(
    ways: WaysIn, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = {STORED: "request_duo_chat_response", REJECTED: "troubleshoot_job"}
    ways.consume(json.dumps([{"event": name, "id": str(id_), "user_id": 1} for id_, name in sent.items()]))
    stack = Stack("", "", "", "", database_url, "", "", "", "")
    rejected = demo._wait_for_consumer(stack, sent)
    assert rejected.keys() == {REJECTED}
    demo._tell_of_rejected(sent, rejected)
    assert "troubleshoot_job: invalid_payload: " in capsys.readouterr().out
