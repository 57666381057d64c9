"""Checks the outcome of each event against the answers and the database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from functions.ingest.message.batch import read_batch
from functions.ingest.outcome import Outcome
from tests.support.ways_in import WaysIn

type Query = Callable[..., list[dict[str, Any]]]

# What only the transformed payload shows, or what is stored.
FOUND_BY_THE_CONSUMER = {
    "id_conflict",
    "invalid_payload",
    "payload_too_large",
    "too_deep",
    "too_many_keys",
    "transformation_failed",
}

_STORED = "SELECT count(*) FROM ai_usage_events"
_KEPT = "SELECT count(*) FROM rejected_events WHERE id = ANY(%s)"


def count_of_stored(query: Query) -> int:
    return _number(query, _STORED)


def assert_answered(answer: Any, messages: list[bytes]) -> None:
    """Checks that each event of a request is in a message, or was answered as ignored or rejected."""
    batches = [read_batch(message, "message", datetime.now(UTC)) for message in messages]
    assert all(batch.grant is not None for batch in batches)
    queued = sum(len(batch.events) for batch in batches)
    if "ids" in answer:
        assert answer["accepted"] + answer["ignored"] + len(answer["rejected"]) == len(answer["ids"])
        assert answer["accepted"] == sum(identifier is not None for identifier in answer["ids"]) == queued
    elif answer != {"status": "ok"}:
        assert queued == 0


def assert_consumed(ways: WaysIn, query: Query) -> None:
    """Checks that each accepted event is stored, unless its transformation rejects it."""
    batches = [read_batch(message, "message", datetime.now(UTC)) for message in ways.waiting]
    if not batches:
        return
    before = count_of_stored(query)
    outcome = ways.consume_waiting()
    accepted = sum(len(batch.events) for batch in batches)
    assert (outcome.ignored, outcome.accepted + len(outcome.rejected)) == (0, accepted)
    assert {row.code for row in outcome.rejected} <= FOUND_BY_THE_CONSUMER
    assert_kept(outcome, query, before)


def assert_kept(outcome: Outcome, query: Query, stored_before: int) -> None:
    """Checks that the database has the events that the consumer reports as stored or rejected."""
    assert count_of_stored(query) - stored_before == outcome.stored
    ids = {row.id for row in outcome.rejected}
    assert _number(query, _KEPT, list(ids)) == len(ids)


def _number(query: Query, statement: str, *values: Any) -> int:
    ((found,),) = (row.values() for row in query(statement, *values))
    assert isinstance(found, int)
    return found
