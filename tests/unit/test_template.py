"""Properties of infra/template.yaml."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from functions.ingest.consumer_handler import LAST_START_SECONDS, TIME_LIMITS
from functions.shared import queue as queue_module
from tests.support.checkout import ROOT
from tests.support.environment import SETTINGS

TEMPLATE = ROOT / "infra" / "template.yaml"
DAY_SECONDS = 24 * 60 * 60
FUNCTIONS = (
    "IngestFunction",
    "ConsumerFunction",
    "SyncFunction",
    "RetentionFunction",
    "GraphqlFunction",
    "MigrationsFunction",
)


@pytest.fixture(scope="module")
def template() -> Any:
    return cfn_yaml.load(str(TEMPLATE))


@pytest.fixture(params=["default", "local"])
def parameters(request: pytest.FixtureRequest, template: Any) -> dict[str, Any]:
    """Returns the values of an environment's parameters."""
    values = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    samconfig = tomllib.loads((ROOT / "samconfig.toml").read_text())
    overrides = samconfig[request.param]["deploy"]["parameters"]["parameter_overrides"]
    return values | dict(override.split("=", 1) for override in overrides)


def statements(template: Any, function: str) -> list[Any]:
    """Returns the statements of a function's policies, including conditional ones."""
    return [
        statement["Fn::If"][1] if "Fn::If" in statement else statement
        for policy in template["Resources"][function]["Properties"]["Policies"]
        for statement in policy["Statement"]
    ]


def test_the_template_is_without_fault() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run([linter, TEMPLATE], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0)


@pytest.mark.parametrize("queue", ["EventQueue", "DeadLetterQueue"])
def test_a_queue_is_encrypted_and_keeps_its_messages_for_fourteen_days(template: Any, queue: str) -> None:
    properties = template["Resources"][queue]["Properties"]
    assert properties["SqsManagedSseEnabled"] is True
    assert properties["MessageRetentionPeriod"] == 14 * DAY_SECONDS == queue_module.RETENTION.total_seconds()


def test_a_day_without_postgresql_sends_nothing_to_the_dead_letter_queue(parameters: dict[str, Any]) -> None:
    assert int(parameters["VisibilityTimeout"]) * int(parameters["MaxReceiveCount"]) > DAY_SECONDS
    assert int(parameters["MaxReceiveCount"]) <= 1000


def test_a_batch_is_not_tried_again_while_it_may_still_be_stored(parameters: dict[str, Any]) -> None:
    assert int(parameters["VisibilityTimeout"]) > int(parameters["ConsumerTimeout"])


def test_on_aws_the_visibility_is_six_times_the_functions_time(template: Any) -> None:
    parameters = template["Parameters"]
    assert parameters["VisibilityTimeout"]["Default"] >= 6 * parameters["ConsumerTimeout"]["Default"]


def test_the_consumer_has_time_for_a_transaction_that_begins_last(template: Any) -> None:
    longest = LAST_START_SECONDS + TIME_LIMITS.transaction
    assert template["Parameters"]["ConsumerTimeout"]["MinValue"] >= longest


def test_the_queue_uses_these_parameters(template: Any) -> None:
    properties = template["Resources"]["EventQueue"]["Properties"]
    assert properties["VisibilityTimeout"] == {"Ref": "VisibilityTimeout"}
    assert properties["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]},
        "maxReceiveCount": {"Ref": "MaxReceiveCount"},
    }


def test_a_message_that_was_not_stored_is_tried_again_without_its_neighbours(template: Any) -> None:
    properties = template["Resources"]["ConsumerEventSource"]["Properties"]
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_body_of_json_is_text_to_the_api(template: Any) -> None:
    assert "BinaryMediaTypes" not in template["Resources"]["Api"]["Properties"]
    assert "BinaryMediaTypes" not in template["Globals"].get("Api", {})


def test_a_body_of_gzip_is_unpacked_by_the_api(template: Any) -> None:
    assert template["Resources"]["Api"]["Properties"]["MinimumCompressionSize"] >= 0  # off, if it is not set


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_nothing_to_all_resources(template: Any, function: str) -> None:
    for statement in statements(template, function):
        assert "*" not in str(statement["Action"])
        assert "*" not in str(statement["Resource"])


@pytest.mark.parametrize(
    ("function", "actions"),
    [
        ("IngestFunction", {"sqs:SendMessage", "secretsmanager:GetSecretValue"}),
        (
            "ConsumerFunction",
            {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "secretsmanager:GetSecretValue"},
        ),
        ("SyncFunction", {"secretsmanager:GetSecretValue"}),
        ("RetentionFunction", {"secretsmanager:GetSecretValue"}),
        ("GraphqlFunction", {"secretsmanager:GetSecretValue"}),
        ("MigrationsFunction", {"secretsmanager:GetSecretValue"}),
    ],
)
def test_a_function_may_do_what_it_needs_alone(template: Any, function: str, actions: set[str]) -> None:
    allowed: set[str] = set()
    for statement in statements(template, function):
        action = statement["Action"]
        allowed.update([action] if isinstance(action, str) else action)
    assert allowed == actions


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "MigrationsFunction"])
def test_nothing_is_served_before_the_migrations_are_done(template: Any, function: str) -> None:
    depends_on = template["Resources"][function]["DependsOn"]
    assert "Migrations" in ([depends_on] if isinstance(depends_on, str) else depends_on)


def test_no_event_is_taken_in_by_a_definition_that_the_consumer_does_not_have_yet(template: Any) -> None:
    assert "ConsumerFunction" in template["Resources"]["IngestFunction"]["DependsOn"]


@pytest.mark.parametrize("function", ["IngestFunction", "GraphqlFunction"])
def test_what_checks_tokens_has_every_setting_of_them_and_may_read_their_secrets(template: Any, function: str) -> None:
    variables = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    of_tokens = {name for name in SETTINGS if name.startswith("AUTH_")} - {"AUTH_SECRET", "AUTH_SECRET_PREVIOUS"}
    assert of_tokens == {name for name in variables if name.startswith("AUTH_")}
    for secret in ("AuthSecretArn", "AuthSecretPreviousArn", "AuthRevocationsArn"):
        assert f"'Ref': '{secret}'" in str(statements(template, function))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_secrets_reach_a_function_by_their_arn_alone(template: Any, function: str) -> None:
    variables = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    assert not {"DATABASE_URL", "AUTH_SECRET", "AUTH_SECRET_PREVIOUS", "CLICKHOUSE_URL"} & set(variables)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_functions_logs_do_not_stay_for_ever(template: Any, function: str) -> None:
    group = template["Resources"][function]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
    assert template["Resources"][group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_function_knows_its_stack_and_whether_it_is_traced(template: Any) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["STACK_NAME"] == {"Ref": "AWS::StackName"}
    assert variables["TRACING"] == {"Fn::If": ["HasTracing", "on", "off"]}
    assert template["Globals"]["Function"]["Tracing"] == {"Ref": "Tracing"}
    assert template["Parameters"]["Tracing"]["Default"] == "Disabled"
