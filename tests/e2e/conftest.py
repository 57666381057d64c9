"""The local stack, deployed once for all tests that use it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from infra import stack_file
from infra.local import deploy
from tests.e2e import live_version, translation
from tests.support import checkout, documentation, local_stack

_CLICKHOUSE_SECRET = "ai-usage-events-clickhouse"

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Stack(stack_file.Stack, frozen=True, kw_only=True):
    """The content of `stack.json`, and the stack's folder for tests that stop a part of the stack."""

    folder: Path
    process_id: int

    @property
    def postgres_data(self) -> Path:
        """The data folder of the stack's PostgreSQL."""
        return self.folder / "postgres"

    @property
    def postgres_log(self) -> Path:
        """The log of the stack's PostgreSQL."""
        return self.folder / "log" / "postgres.log"

    def sqs(self) -> "SQSClient":
        """Returns a client of the stack's queues."""
        client: SQSClient = deploy.client("sqs", self.aws_endpoint_url)
        return client


@pytest.fixture(scope="package", name="stack")
def deployed_stack(open_folder: Path) -> Iterator[Stack]:
    """A stack of the tests' own, deployed from a copy of this checkout with faulty and with documented definitions.

    The stack stops after these tests, because its schedules and queues would slow the tests that follow.
    """
    copy = checkout.copy(open_folder / "checkout")
    (copy / "definitions" / "search.py").write_text(documentation.search_definition())
    (copy / "definitions" / "issue_summaries.py").write_text(documentation.tutorial_definition())
    translation.write_faulty(copy)
    folder = copy / ".local"
    with local_stack.running(copy, "--no-clickhouse") as process:  # see with_clickhouse
        running = msgspec.json.decode((folder / "stack.json").read_bytes())
        yield msgspec.convert(running | {"folder": str(folder), "process_id": process.pid}, Stack, dec_hook=_path)


@pytest.fixture(scope="module")
def with_clickhouse(stack: Stack) -> Iterator[Stack]:
    """Runs the stack as if it was deployed with ClickHouse's secret; afterwards the stack has no ClickHouse again."""
    lambdas = deploy.client("lambda", stack.aws_endpoint_url)
    secret = deploy.client("secretsmanager", stack.aws_endpoint_url).describe_secret(SecretId=_CLICKHOUSE_SECRET)["ARN"]
    variables = {
        function["FunctionName"]: function.get("Environment", {}).get("Variables", {})
        for function in lambdas.list_functions()["Functions"]
    }
    before = {name: values for name, values in variables.items() if "CLICKHOUSE_SECRET_ARN" in values}

    def configure(**changes: str) -> None:
        for name, values in before.items():
            lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": values | changes})
            live_version.publish(lambdas, name)

    try:
        configure(CLICKHOUSE_SECRET_ARN=secret)
        yield stack
    finally:
        configure()


def _path(kind: type, value: str) -> Path:
    assert kind is Path
    return Path(value)


@pytest.fixture
def user_id() -> int:
    """A user of this test's own, so that tests do not see each other's events."""
    return random.randrange(10**9, 10**12)
