"""Batches made to take memory are stored as any other, within the memory that the consumer may take."""

import os
import sys

import pytest

from tests.support.worst_batches import MAX_CONSUMER_MEGABYTES, MOST_MESSAGES, consume_worst_batches

MESSAGES = MOST_MESSAGES if os.environ.get("SOAK") else 1


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is of Linux, whose peak the benchmark measures")
def test_no_batch_takes_more_memory_than_the_consumer_may(database_url: str) -> None:
    outcomes = consume_worst_batches(database_url, MESSAGES)
    for outcome in outcomes:
        print(outcome)
    assert [outcome for outcome in outcomes if outcome.answer != "0 failed"] == []
    assert max(outcome.megabytes for outcome in outcomes) <= MAX_CONSUMER_MEGABYTES
