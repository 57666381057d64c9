"""The local stack, deployed once for all tests that go through it."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from infra.local import deploy, stack
from tests import checkout

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

START_SECONDS = 600  # the first time, tools are installed


class Stack(stack.Stack, frozen=True, kw_only=True):
    """What `stack.json` says, and where the stack is, for tests that stop a part of it."""

    folder: Path
    process_id: int

    @property
    def postgres_data(self) -> Path:
        """The data of its PostgreSQL."""
        return self.folder / "postgres"

    @property
    def postgres_log(self) -> Path:
        """The log of its PostgreSQL."""
        return self.folder / "log" / "postgres.log"

    def sqs(self) -> "SQSClient":
        """A client of its queues."""
        client: SQSClient = deploy.client("sqs", self.aws_endpoint_url)
        return client


def example_definition() -> str:
    """The definition that the README shows."""
    readme = (checkout.ROOT / "README.md").read_text()
    found = re.search(r'```python\n("""Answers in the search.*?)```', readme, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="session", name="stack")
def deployed_stack(open_folder: Path) -> Iterator[Stack]:
    """A stack of the tests' own, deployed from a copy of this checkout that has the README's definition beside ours."""
    copy = checkout.copy(open_folder / "checkout")
    (copy / "definitions" / "search.py").write_text(example_definition())
    folder = copy / ".local"
    command = [sys.executable, "-m", "infra.local", "start", "--no-clickhouse"]  # until test_with_clickhouse.py
    process = subprocess.Popen(command, cwd=copy, stdin=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not (folder / "stack.json").exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        running = msgspec.json.decode((folder / "stack.json").read_bytes())
        yield msgspec.convert(running | {"folder": str(folder), "process_id": process.pid}, Stack, dec_hook=_path)
    finally:
        process.terminate()
        assert process.wait() == 0
        assert not (folder / "stack.json").exists()


def _path(kind: type, value: str) -> Path:
    assert kind is Path
    return Path(value)


@pytest.fixture
def user_id() -> int:
    """A user of this test's own, so that tests do not see each other's events."""
    return random.randrange(10**9, 10**12)
