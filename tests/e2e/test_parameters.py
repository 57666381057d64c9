"""Parameters that are changed while the stack runs, without a new release."""

from infra.local import deploy
from tests.e2e.conftest import Stack
from tests.e2e.live_version import ALIAS
from tests.e2e.parameters import changed
from tests.support import plain_http

INTROSPECTION = "{ __schema { queryType { name } } }"


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
