"""Functions that Lambda starts from a snapshot (SnapStart), by a stand-in for the library of Lambda's runtime."""

import random
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType

import boto3
import pytest

from functions.shared import settings
from functions.shared.auth import Authenticator, Unauthenticated
from functions.shared.setting_error import SettingError
from functions.shared.snapshot import after_restore
from infra.operations.token import sign
from infra.stack_file import ACCOUNT
from tests.functional.test_package import SETTINGS

OLD, NEW = "x" * 40, "y" * 40
SERVING = ("functions.ingest.api", "functions.ingest.consumer", "functions.graphql.api")

# Prints how many hooks the function registered, and how many connections it has open.
START = """
import sys, types, psutil
hooks = []
sys.modules["snapshot_restore_py"] = types.SimpleNamespace(register_after_restore=hooks.append)
from {module} import handler
print(len(hooks), len(psutil.Process().net_connections()))
"""


class Snapshot:
    """A snapshot of this process: keeps what is called after it was restored."""

    def __init__(self) -> None:
        self.hooks: list[Callable[[], object]] = []

    def restore(self) -> None:
        """Calls the hooks in the order in which they were registered, as Lambda does."""
        for hook in self.hooks:
            hook()


@pytest.fixture
def snapshot(monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    snapshot, library = Snapshot(), ModuleType("snapshot_restore_py")
    library.register_after_restore = snapshot.hooks.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", library)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    return snapshot


@pytest.fixture
def signing(aws: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the secret that the settings name, which holds `OLD`."""
    arn: str = boto3.client("secretsmanager").create_secret(Name="signing", SecretString=OLD)["ARN"]
    monkeypatch.setenv("AUTH_SECRET_ARN", arn)
    return arn


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {sign(secret, '1', ['events:read'], ['*'], timedelta(hours=1))}"}


def test_a_secret_in_the_snapshot_is_replaced_before_the_first_request(snapshot: Snapshot, signing: str) -> None:
    authenticator = Authenticator(settings.auth())
    assert authenticator.grant(bearer(OLD)).may_read
    boto3.client("secretsmanager").put_secret_value(SecretId=signing, SecretString=NEW)
    snapshot.restore()
    assert authenticator.grant(bearer(NEW)).may_read
    with pytest.raises(Unauthenticated):
        authenticator.grant(bearer(OLD))


def test_an_instance_does_not_start_with_a_secret_that_is_gone(snapshot: Snapshot, signing: str) -> None:
    settings.auth()
    boto3.client("secretsmanager").delete_secret(SecretId=signing, ForceDeleteWithoutRecovery=True)
    with pytest.raises(SettingError, match="AUTH_SECRET_ARN"):
        snapshot.restore()


def test_no_two_instances_have_the_same_random_numbers(snapshot: Snapshot) -> None:
    after_restore(random.seed)
    state, drawn = random.getstate(), set[float]()
    for _ in range(3):
        random.setstate(state)
        snapshot.restore()
        drawn.add(random.random())
    assert len(drawn) == 3


def test_without_a_snapshot_nothing_is_registered(
    snapshot: Snapshot, signing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    settings.auth()
    assert snapshot.hooks == []


@pytest.mark.parametrize("module", SERVING)
def test_a_function_opens_no_connection_before_the_snapshot(module: str) -> None:
    environment = SETTINGS | ACCOUNT | {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    command = [sys.executable, "-c", START.format(module=module)]
    started = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    hooks, connections = map(int, started.stdout.split())
    assert (hooks, connections) == (1, 0)  # the random numbers; these settings name no secret
