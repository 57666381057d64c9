"""Kills of what belongs to a deployed stack."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from infra.local import postgres
from tests.e2e.conftest import Stack

CONSUMER = "ConsumerFunction"  # in the paths of what MiniStack runs for it
OUTAGE_SECONDS = (1.0, 4.0)
WATCH_SECONDS = 0.02  # a tick of the processor's clock is 0.01
GIVE_UP_SECONDS = 120


def kill_postgres(stack: Stack) -> None:
    """Kills the server, and starts it again some seconds later."""
    assert postgres.is_running(stack.postgres_data)
    os.kill(postgres.server_pid(stack.postgres_data), signal.SIGKILL)
    try:
        time.sleep(random.uniform(*OUTAGE_SECONDS))
    finally:
        assert postgres.start(stack.postgres_data, stack.postgres_log) == stack.database_url


def kill_consumer(stack: Stack) -> None:
    """Kills one of the consumer's processes while it works."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up:
        for process in _consumers(stack):
            with suppress(psutil.NoSuchProcess):
                if _works(process):
                    process.kill()
                    return
        time.sleep(WATCH_SECONDS)
    raise AssertionError("no process of the consumer works")


def failed_batches(stack: Stack) -> int:
    """How many batches died with a process of the consumer, as the log of MiniStack says."""
    log = (stack.folder / "log" / "aws.log").read_text(errors="replace")
    return log.count("errorMessage=Worker process died")


@contextmanager
def visibility_timeout(stack: Stack, seconds: int) -> Iterator[None]:
    """Has the queue deliver what was not stored again after other `seconds` than it was deployed with."""
    client = stack.sqs()
    answer = client.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["VisibilityTimeout"])
    client.set_queue_attributes(QueueUrl=stack.queue_url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        client.set_queue_attributes(QueueUrl=stack.queue_url, Attributes=answer["Attributes"])


def _consumers(stack: Stack) -> list[psutil.Process]:
    """The stack's processes that run the consumer, in any order."""
    found = []
    for process in psutil.Process(stack.process_id).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if CONSUMER in " ".join(process.cmdline()):
                found.append(process)
    random.shuffle(found)
    return found


def _works(process: psutil.Process) -> bool:
    """Whether the process takes time of the processor, so that it has a batch in its hands."""
    before = process.cpu_times()
    time.sleep(WATCH_SECONDS)
    return process.cpu_times() != before
