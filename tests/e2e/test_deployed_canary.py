"""The deployed canary function sends its event through the deployed API, and finds it in GraphQL."""

import json
from typing import Any

from functions.shared import canary
from infra.local import deploy
from tests.e2e.conftest import Stack
from tests.e2e.use import graphql, rows

STORED = "SELECT event, user_id, namespace_path FROM ai_usage_events WHERE id = %s"


def invoked(stack: Stack) -> Any:
    lambdas = deploy.client("lambda", stack.aws_endpoint_url)
    (name,) = [
        one["FunctionName"]
        for one in lambdas.list_functions()["Functions"]
        if one["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == "canary"
    ]
    return json.loads(lambdas.invoke(FunctionName=name)["Payload"].read())


def test_the_canary_of_a_stack_is_seen_in_graphql(stack: Stack) -> None:
    report = invoked(stack)
    assert report["failure"] == ""
    assert 0 < report["postgresql_seconds"] < 60
    assert rows(stack, STORED, report["id"]) == [(canary.EVENT_ID, canary.USER_ID, canary.NAMESPACE_PATH)]
    text = f'{{ canaryEvent(id: "{report["id"]}") {{ postgresql clickhouse }} }}'
    assert graphql(stack, text) == {"canaryEvent": {"postgresql": True, "clickhouse": None}}
