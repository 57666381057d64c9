"""Changes parameters of the deployed stack, without a new release."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import WaiterError

from infra.local import deploy
from tests.e2e.conftest import Stack

WAIT = {"Delay": 1, "MaxAttempts": 300}


def deployed(stack: Stack) -> dict[str, str]:
    """Returns the parameters of the stack."""
    return {one["ParameterKey"]: one["ParameterValue"] for one in _described(stack)["Parameters"]}


def update(stack: Stack, parameters: Mapping[str, str]) -> str:
    """Deploys the same template with these parameters, and returns the stack's status when that has ended."""
    formation = deploy.client("cloudformation", stack.aws_endpoint_url)
    formation.update_stack(
        StackName=deploy.STACK,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    with suppress(WaiterError):
        formation.get_waiter("stack_update_complete").wait(StackName=deploy.STACK, WaiterConfig=WAIT)
    return str(_described(stack)["StackStatus"])


@contextmanager
def changed(stack: Stack, **parameters: str) -> Iterator[None]:
    """Changes parameters of the stack while the block runs."""
    before = deployed(stack)
    assert update(stack, before | parameters) == "UPDATE_COMPLETE"
    try:
        yield
    finally:
        assert update(stack, before) == "UPDATE_COMPLETE"


def _described(stack: Stack) -> Any:
    formation = deploy.client("cloudformation", stack.aws_endpoint_url)
    (found,) = formation.describe_stacks(StackName=deploy.STACK)["Stacks"]
    return found
