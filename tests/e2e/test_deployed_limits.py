"""The functions of a stack with limits of tenants count together in DynamoDB, and without it they refuse nobody."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from functions.shared.grant import WRITE
from functions.shared.tenant_limits import DAY_SECONDS
from infra.local import deploy, ports
from infra.operations.token import sign
from tests.e2e import live_version
from tests.e2e.conftest import Stack
from tests.e2e.parameters import changed
from tests.e2e.test_deployed_canary import invoked
from tests.e2e.use import eventually, logged, post

LIMIT = 20
AT_ONCE = 6
CHAT = {"event": "request_duo_chat_response", "user_id": 1}
OF_DYNAMODB = "AWS_ENDPOINT_URL_DYNAMODB"
LONGEST_SECONDS = 600
"""How long the test takes at most, on a busy machine."""


@pytest.fixture
def one_day() -> None:
    """Waits until midnight in UTC if that is near, because the count of a day then begins anew."""
    left = DAY_SECONDS - time.time() % DAY_SECONDS
    if left < LONGEST_SECONDS:
        time.sleep(left)


@pytest.fixture
def tenants(stack: Stack) -> tuple[str, str]:
    """Tokens of two tenants that no other test has."""
    first = random.randrange(10**6, 10**9)
    one, other = (
        sign(stack.auth_secret, "1", [WRITE], [f"{root}/"], timedelta(hours=1)) for root in (first, first + 1)
    )
    return one, other


@pytest.fixture
def renewed(stack: Stack) -> Callable[..., None]:
    """Replaces the instances of ingest by new ones, which have counted nothing and have these settings too."""
    lambdas = deploy.client("lambda", stack.aws_endpoint_url)

    def renew(**settings: str) -> None:
        (function,) = [
            one
            for one in lambdas.list_functions()["Functions"]
            if one["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == "ingest"
        ]
        name, variables = function["FunctionName"], function["Environment"]["Variables"]
        lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables | settings})
        live_version.publish(lambdas, name)

    return renew


@pytest.mark.usefixtures("one_day")
def test_a_limit_holds_for_all_instances_and_for_its_tenant_alone(
    stack: Stack, tenants: tuple[str, str], renewed: Callable[..., None]
) -> None:
    one, other = tenants
    with changed(stack, TenantEventsPerDay=str(LIMIT)):
        assert post(stack, [CHAT] * LIMIT, one).status_code == 202
        assert_limited(stack, one)
        renewed(POWERTOOLS_LOG_LEVEL="INFO")
        assert_limited(stack, one)
        with ThreadPoolExecutor(AT_ONCE) as senders:
            statuses = list(senders.map(lambda _: post(stack, [CHAT], other).status_code, range(2 * LIMIT)))
        assert LIMIT <= statuses.count(202) <= LIMIT + AT_ONCE
        assert statuses.count(429) == 2 * LIMIT - statuses.count(202)
        assert post(stack, [CHAT] * 2 * LIMIT).status_code == 202  # of the token for everything
        assert [invoked(stack)["failure"] for _ in range(2)] == ["", ""]
        renewed(**{OF_DYNAMODB: f"http://127.0.0.1:{ports.free()}"})
        assert post(stack, [CHAT], one).status_code == 202
        eventually(lambda: any('"UncountedEvents":1' in line for line in logged(stack, "IngestLogs")), wanted=True)
    assert post(stack, [CHAT] * 2 * LIMIT, one).status_code == 202


def assert_limited(stack: Stack, token: str) -> None:
    answer: Any = post(stack, [CHAT], token)
    seconds = int(answer.headers["Retry-After"])
    assert (answer.status_code, 0 < seconds <= DAY_SECONDS) == (429, True)
    message = f"The limit of events in a day is reached; send the request again after {seconds} s."
    assert answer.json() == {"message": message}
