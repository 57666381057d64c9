"""The Python publisher and the deployed stack."""

from collections.abc import Callable

import pytest

from functions.ingest.publisher import HttpsDestination, Publisher, QueueDestination, Stats
from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, rows
from tests.support.formats import JOB, JOB_PAYLOAD, SUGGESTION_PAYLOAD

FLUSH_SECONDS = 60.0
DESTINATIONS: dict[str, Callable[[Stack], HttpsDestination | QueueDestination]] = {
    "HTTPS": lambda stack: HttpsDestination(stack.api_url, stack.token),
    "queue": lambda stack: QueueDestination(stack.queue_url, stack.sqs),
}


@pytest.mark.parametrize("destination", DESTINATIONS.values(), ids=DESTINATIONS.keys())
def test_tracked_events_are_stored_once_and_counted(
    destination: Callable[[Stack], HttpsDestination | QueueDestination], stack: Stack, user_id: int
) -> None:
    namespace = {"path": "27/28/"}
    with Publisher(destination(stack)) as publisher:
        for _ in range(5):
            publisher.track_event("troubleshoot_job", user=user_id, namespace=namespace, job=JOB)
            publisher.track_event(
                "code_suggestion_shown_in_ide", user=user_id, additional_properties=SUGGESTION_PAYLOAD
            )
        assert publisher.flush(FLUSH_SECONDS)
        assert publisher.stats() == Stats(accepted=10)
    find = "SELECT event, namespace_path, payload FROM ai_usage_events WHERE user_id = %s ORDER BY event"
    wanted = [(2, None, SUGGESTION_PAYLOAD)] * 5 + [(7, "27/28/", JOB_PAYLOAD)] * 5
    eventually(lambda: rows(stack, find, user_id), wanted)
