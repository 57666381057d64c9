"""The resources that CloudFormation makes from infra/template.yaml."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localstack_client.session import Session

from infra.local import deploy
from tests.integration.deployment import (
    Deployment,
    deployed_beside,
    deployed_whole,
    deployed_without_functions,
    runs_functions,
)

DAY_SECONDS = 24 * 60 * 60
PAGES = ("/graphql", "/dashboard", "/dashboard/{path+}")
SECRETS = {
    "DatabaseSecretArn": "test-deployed-database",
    "AuthSecretArn": "test-deployed-auth",
    "ClickHouseSecretArn": "test-deployed-clickhouse",
}
PUBLISHERS = {
    "PublisherTopicArns": "arn:aws:sns:us-east-1:000000000000:first,arn:aws:sns:us-east-1:000000000000:second",
    "PublisherAccountIds": "111111111111",
}


@pytest.fixture(scope="module")
def deployment(
    session: Session, endpoint: str, open_folder: Path, postgres_server: str, clickhouse_server: str
) -> Iterator[Deployment]:
    values = (postgres_server, "a secret of thirty-two characters, at least", clickhouse_server)
    parameters = {"Canary": "on"} | PUBLISHERS
    for (parameter, name), value in zip(SECRETS.items(), values, strict=True):
        parameters[parameter] = deploy.put_secret(name, value, endpoint)
    if runs_functions(endpoint):
        deploying = deployed_whole(session, open_folder, endpoint, parameters)
    else:
        deploying = deployed_without_functions(session, deploy.local_parameters() | parameters)
    with deploying as deployed:
        yield deployed


def test_nothing_of_the_template_is_refused_but_functions_where_none_can_run(deployment: Deployment) -> None:
    assert {name for name in deployment.refused if "Function" not in name} == set()
    assert bool(deployment.refused) is not deployment.functions
    assert all(deployment.outputs.values())


def test_what_the_consumer_can_not_store_goes_to_the_dead_letter_queue(
    deployment: Deployment, session: Session
) -> None:
    queue, dead = (attributes(session, deployment.outputs[name]) for name in ("QueueUrl", "DeadLetterQueueUrl"))
    policy = json.loads(queue["RedrivePolicy"])
    assert (policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])) == (dead["QueueArn"], 1000)
    assert queue["VisibilityTimeout"] == "90"
    assert queue["QueueArn"] == deployment.outputs["QueueArn"]
    assert "RedrivePolicy" not in dead


@pytest.mark.parametrize("output", ["QueueUrl", "DeadLetterQueueUrl"])
def test_a_queue_is_encrypted_and_keeps_messages_of_a_mebibyte_for_fourteen_days(
    output: str, deployment: Deployment, session: Session
) -> None:
    queue = attributes(session, deployment.outputs[output])
    assert queue["SqsManagedSseEnabled"] == "true"
    assert queue["MessageRetentionPeriod"] == str(14 * DAY_SECONDS)
    assert queue["MaximumMessageSize"] == str(1024 * 1024)


def test_the_queue_lets_in_those_who_were_named(deployment: Deployment, session: Session) -> None:
    policy = json.loads(attributes(session, deployment.outputs["QueueUrl"])["Policy"])
    topics, accounts = policy["Statement"]
    assert topics["Condition"] == {"ArnEquals": {"aws:SourceArn": PUBLISHERS["PublisherTopicArns"].split(",")}}
    assert "111111111111" in json.dumps(accounts["Principal"])
    assert topics["Resource"] == accounts["Resource"] == deployment.outputs["QueueArn"]


def test_a_second_stack_lives_in_the_same_account(deployment: Deployment, session: Session, endpoint: str) -> None:
    if deployment.functions:
        pytest.skip("the whole stack has the name that samconfig.toml gives it")
    arns = {
        parameter: session.client("secretsmanager").describe_secret(SecretId=name)["ARN"]
        for parameter, name in SECRETS.items()
    }
    with deployed_beside(session, deployment, deploy.local_parameters() | arns) as resources:
        shared = {name for name, physical in resources.items() if physical == deployment.resources.get(name)}
        assert shared <= {"ApiStage"}  # a stage's name is within its API
        assert {"SyncFunctionSchedule", "EventQueue", "DeadLetterQueue"} <= resources.keys()


def attributes(session: Session, url: str) -> dict[str, str]:
    answer: dict[str, str] = session.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return answer


@pytest.mark.parametrize(
    ("name", "expression", "function"),
    [
        ("SyncFunctionSchedule", "rate(1 minute)", "SyncFunction"),
        ("RetentionFunctionSchedule", "cron(20 3 * * ? *)", "RetentionFunction"),
        ("CanaryFunctionSchedule", "rate(5 minutes)", "CanaryFunction"),
    ],
)
def test_a_schedule_calls_its_function_on_time_and_never_twice(
    name: str, expression: str, function: str, deployment: Deployment, session: Session
) -> None:
    schedule = session.client("scheduler").get_schedule(Name=deployment.resources[name].rpartition("/")[2])
    assert (schedule["ScheduleExpression"], schedule["State"]) == (expression, "ENABLED")
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert schedule["Target"]["Arn"].endswith(f":function:{deployment.outputs[f'{function}Name']}")
    (statement,) = statements(session, deployment.resources[f"{function}ScheduleRole"])
    assert (statement["Action"], statement["Resource"]) == ("lambda:InvokeFunction", schedule["Target"]["Arn"])


def test_the_api_has_the_routes_and_each_calls_its_function(deployment: Deployment, session: Session) -> None:
    gateway = session.client("apigateway")
    resources = gateway.get_resources(restApiId=deployment.outputs["ApiId"], embed=["methods"])["items"]
    routes = {
        (resource["path"], method): integration["methodIntegration"]["uri"].partition(":function:")[2]
        for resource in resources
        for method, integration in resource.get("resourceMethods", {}).items()
    }
    ingest, graphql = (
        f"{deployment.outputs[f'{name}FunctionName']}:live/invocations" for name in ("Ingest", "Graphql")
    )
    assert routes == {
        ("/v1/events", "POST"): ingest,
        ("/api/v4/usage_data/track_event", "POST"): ingest,
        ("/api/v4/usage_data/track_events", "POST"): ingest,
        ("/graphql", "POST"): graphql,
        **{(path, method): graphql for path in PAGES for method in ("GET", "HEAD")},
        ("/v1/export", "GET"): graphql,
        ("/v1/export", "OPTIONS"): graphql,
        ("/graphql", "OPTIONS"): graphql,
        ("/v1/events", "OPTIONS"): ingest,
        ("/api/v4/usage_data/track_event", "OPTIONS"): ingest,
        ("/api/v4/usage_data/track_events", "OPTIONS"): ingest,
    }
    stage = gateway.get_stage(restApiId=deployment.outputs["ApiId"], stageName=deployment.outputs["ApiStage"])
    assert stage["deploymentId"] in deployment.resources.values()


@pytest.mark.parametrize(
    ("function", "secrets"),
    [
        ("IngestFunction", ["AuthSecretArn"]),
        ("ConsumerFunction", ["DatabaseSecretArn"]),
        ("GraphqlFunction", ["DatabaseSecretArn", "ClickHouseSecretArn", "AuthSecretArn"]),
        ("SyncFunction", ["DatabaseSecretArn", "ClickHouseSecretArn"]),
        ("RetentionFunction", ["DatabaseSecretArn", "ClickHouseSecretArn"]),
        ("MigrationsFunction", ["DatabaseSecretArn"]),
        ("CanaryFunction", ["AuthSecretArn"]),
    ],
)
def test_a_function_may_read_the_secrets_that_it_needs_and_no_others(
    function: str, secrets: list[str], deployment: Deployment, session: Session
) -> None:
    allowed: list[str] = []
    for statement in statements(session, deployment.resources[f"{function}Role"]):
        if statement["Action"] == "secretsmanager:GetSecretValue":
            resources = statement["Resource"]
            allowed += [resources] if isinstance(resources, str) else resources
    manager = session.client("secretsmanager")
    assert sorted(allowed) == sorted(manager.describe_secret(SecretId=SECRETS[name])["ARN"] for name in secrets)


def statements(session: Session, role: str) -> list[Any]:
    """The statements of the role's own policies."""
    iam = session.client("iam")
    return [
        statement
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]
    ]
