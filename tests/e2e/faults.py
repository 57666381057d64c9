"""Kills parts of a deployed stack."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
from psycopg.conninfo import conninfo_to_dict

from infra.local import postgres
from tests.e2e.conftest import Stack

CONSUMER = "ConsumerFunction"  # in the paths of what MiniStack runs for it
OUTAGE_SECONDS = (1.0, 4.0)
NOTICED_SECONDS = 0.5  # within which MiniStack writes down that a process died
LOOK_SECONDS = 0.001  # a batch may take but a few ticks of the processor's clock, 0.01 s each
LOOKS = 300  # before there may be other processes
GIVE_UP_SECONDS = 120


def kill_postgres(stack: Stack) -> None:
    """Kills PostgreSQL, and starts it again some seconds later."""
    assert postgres.is_running(stack.postgres_data)
    os.kill(postgres.server_pid(stack.postgres_data), signal.SIGKILL)
    try:
        time.sleep(random.uniform(*OUTAGE_SECONDS))
    finally:
        assert postgres.start(stack.postgres_data, stack.postgres_log) == stack.database_url


@contextmanager
def without_postgres(stack: Stack) -> Iterator[None]:
    """Stops PostgreSQL while the block runs."""
    postgres.stop(stack.postgres_data)
    try:
        yield
    finally:
        assert postgres.start(stack.postgres_data, stack.postgres_log) == stack.database_url


def kill_consumer(stack: Stack) -> None:
    """Kills a process of the consumer while it processes a batch."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    failed = failed_batches(stack)
    while failed_batches(stack) == failed:  # one that had just finished does not count
        assert time.monotonic() < give_up
        with suppress(psutil.NoSuchProcess):
            if _kill_first_to_work(_consumers(stack)):
                time.sleep(NOTICED_SECONDS)


def failed_batches(stack: Stack) -> int:
    """Returns how many batches the consumer did not answer, according to MiniStack's log."""
    log = (stack.folder / "log" / "aws.log").read_text(errors="replace")
    return log.count("failed processing SQS batch")


@contextmanager
def visibility_timeout(stack: Stack, seconds: int) -> Iterator[None]:
    """Sets the queue's visibility timeout to `seconds` while the block runs."""
    client = stack.sqs()
    answer = client.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["VisibilityTimeout"])
    client.set_queue_attributes(QueueUrl=stack.queue_url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        client.set_queue_attributes(QueueUrl=stack.queue_url, Attributes=answer["Attributes"])


def _consumers(stack: Stack) -> list[psutil.Process]:
    """Returns the stack's processes that run the consumer and are connected to PostgreSQL."""
    port = int(conninfo_to_dict(stack.database_url)["port"] or 0)
    found = []
    for process in psutil.Process(stack.process_id).children(recursive=True):
        with suppress(psutil.Error):  # it ended; macOS then refuses to show it
            if CONSUMER in " ".join(process.cmdline()) and port in _connected_ports(process):
                found.append(process)
    random.shuffle(found)
    return found


def _connected_ports(process: psutil.Process) -> set[int]:
    return {port for connection in process.net_connections() for port in connection.raddr[1:]}


def _kill_first_to_work(processes: Sequence[psutil.Process]) -> bool:
    """Kills the first process that uses the processor; returns False if none does soon."""
    before = [process.cpu_times() for process in processes]
    for _ in range(LOOKS):
        time.sleep(LOOK_SECONDS)
        for process, times in zip(processes, before, strict=True):
            if process.cpu_times() != times:
                process.kill()
                return True
    return False
