"""Parameters that are changed while the stack runs, without a new release."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.local import deploy
from tests.e2e.conftest import Stack
from tests.e2e.live_version import ALIAS
from tests.support import plain_http

WAIT = {"Delay": 1, "MaxAttempts": 300}
INTROSPECTION = "{ __schema { queryType { name } } }"


@contextmanager
def changed(stack: Stack, **parameters: str) -> Iterator[None]:
    """Changes parameters of the deployed stack while the block runs."""
    formation = deploy.client("cloudformation", stack.aws_endpoint_url)
    (deployed,) = formation.describe_stacks(StackName=deploy.STACK)["Stacks"]
    before = {one["ParameterKey"]: one["ParameterValue"] for one in deployed["Parameters"]}

    def update(values: dict[str, str]) -> None:
        formation.update_stack(
            StackName=deploy.STACK,
            UsePreviousTemplate=True,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        formation.get_waiter("stack_update_complete").wait(StackName=deploy.STACK, WaiterConfig=WAIT)

    update(before | parameters)
    try:
        yield
    finally:
        update(before)


def live_version(stack: Stack, function: str) -> str:
    """Returns the version of the function that the alias names."""
    formation = deploy.client("cloudformation", stack.aws_endpoint_url)
    detail = formation.describe_stack_resource(StackName=deploy.STACK, LogicalResourceId=function)
    name = detail["StackResourceDetail"]["PhysicalResourceId"]
    lambdas = deploy.client("lambda", stack.aws_endpoint_url)
    return str(lambdas.get_alias(FunctionName=name, Name=ALIAS)["FunctionVersion"])


def allows_introspection(stack: Stack) -> bool:
    headers = {"Authorization": f"Bearer {stack.token}"}
    url, query = f"{stack.api_url}/graphql", {"query": INTROSPECTION}
    return "errors" not in plain_http.post(url, json=query, headers=headers, timeout=60).json()


def test_a_changed_parameter_reaches_the_version_that_answers(stack: Stack) -> None:
    assert allows_introspection(stack)
    before = live_version(stack, "GraphqlFunction")
    with changed(stack, GraphqlIntrospection="off"):
        assert live_version(stack, "GraphqlFunction") != before
        assert not allows_introspection(stack)
    assert allows_introspection(stack)
