"""LocalStack, and fixtures that use it."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from localstack_client.session import Session

from infra.local import aws
from infra.local.process import Processes, StartError
from infra.local.stack import step
from infra.stack_file import ACCOUNT, REGION
from tests.integration import localstack
from tests.integration.delivery import LocalStackQueues

VISIBILITY_SECONDS = 1
MAX_RECEIVE_COUNT = 2
LOG_CHARACTERS = 4000  # shown of the end of the log


@pytest.fixture(scope="package")  # it would take time from all tests that come after these
def endpoint(
    callers_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The LocalStack that AWS_ENDPOINT_URL or LOCALSTACK_HOST names; if none, starts one."""
    with patch.dict(os.environ, callers_environment):
        named = aws.running_endpoint()
    if named is not None:
        yield named
        return
    folder = tmp_path_factory.mktemp("localstack")
    log = folder / "log"
    processes = Processes(folder / "processes.json")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    try:
        with capture.global_and_fixture_disabled(), step("LocalStack (installed the first time it is needed)"):
            started = localstack.start(folder / "state", log, processes)
        yield started
    except StartError as error:
        raise pytest.fail.Exception(f"{error}\n{_end_of(log)}", pytrace=False) from None
    finally:
        processes.stop()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_CHARACTERS:]


@pytest.fixture(scope="package")
def session(endpoint: str) -> Session:
    """A session whose clients call LocalStack."""
    return Session(localstack_host=urlsplit(endpoint).netloc, region_name=REGION)


@pytest.fixture(autouse=True)
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the functions' own clients call LocalStack."""
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def queues(session: Session) -> Iterator[LocalStackQueues]:
    """A queue and its dead-letter queue for one test; messages that were not stored come back after a second."""
    sqs = session.client("sqs")
    name = f"test-{secrets.token_hex(4)}"
    dead_letter_url = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=dead_letter_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVE_COUNT}
    attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": json.dumps(policy)}
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    yield LocalStackQueues(sqs, url, dead_letter_url)
    for queue_url in (url, dead_letter_url):
        sqs.delete_queue(QueueUrl=queue_url)
