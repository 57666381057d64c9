"""Properties of infra/template.yaml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from functions.ingest.consumer_handler import LAST_START_SECONDS
from functions.ingest.redelivery import FAILURE_SECONDS, LONGEST_DELAY_SECONDS
from functions.shared import queue as queue_module
from functions.shared.role_settings import CONSUMER_LIMITS
from tests.support.checkout import ROOT
from tests.support.environment import SETTINGS
from tests.templates import TEMPLATES

TEMPLATE = ROOT / "infra" / "template.yaml"
DAY_SECONDS = 24 * 60 * 60
MAX_IN_FLIGHT = 120_000  # of a standard queue
FUNCTIONS = (
    "IngestFunction",
    "ConsumerFunction",
    "SyncFunction",
    "RetentionFunction",
    "GraphqlFunction",
    "MigrationsFunction",
    "CanaryFunction",
)
WITHOUT_DATABASE = ("IngestFunction", "CanaryFunction")


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
        if "Statement" in policy
        for statement in policy["Statement"]
    ]


@pytest.mark.parametrize("environment", ["default", "local"])
def test_a_deployment_acknowledges_what_the_template_makes(template: Any, environment: str) -> None:
    made = {resource["Type"] for resource in template["Resources"].values()}
    needed = {"CAPABILITY_IAM"} if "AWS::IAM::ManagedPolicy" in made else set()
    # CloudFormation asks for it where a template has both a transformation and nested stacks.
    needed |= {"CAPABILITY_AUTO_EXPAND"} if "AWS::CloudFormation::Stack" in made else set()
    samconfig = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert {*samconfig[environment]["deploy"]["parameters"]["capabilities"]} == needed


def test_a_deployment_goes_to_the_region_in_which_its_secrets_and_subnets_were_made() -> None:
    samconfig = tomllib.loads((ROOT / "samconfig.toml").read_text())
    # sam prefers a region of this file to that of the account's configuration, which the other commands use.
    assert not [name for name in samconfig["default"] if "region" in samconfig["default"][name]["parameters"]]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.stem)
def test_a_template_is_without_fault(template: Path) -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run([linter, template], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0)


def test_every_accepted_finding_of_checkov_has_its_reason() -> None:
    lines = (ROOT / "infra" / "checkov.yaml").read_text().partition("skip-check:\n")[2].splitlines()
    accepted = [line for line in lines if line.lstrip().startswith("- ")]
    assert 0 < len(accepted) <= 12
    assert all(re.fullmatch(r"  - CKV_AWS_\d+ +# \w.{20,}", line) for line in accepted)


@pytest.mark.parametrize("queue", ["EventQueue", "DeadLetterQueue"])
def test_a_queue_is_encrypted_and_keeps_its_messages_for_fourteen_days(template: Any, queue: str) -> None:
    properties = template["Resources"][queue]["Properties"]
    assert properties["SqsManagedSseEnabled"] is True
    assert properties["MessageRetentionPeriod"] == 14 * DAY_SECONDS == queue_module.RETENTION.total_seconds()


def test_a_day_without_postgresql_sends_nothing_to_the_dead_letter_queue(parameters: dict[str, Any]) -> None:
    shortest = min(int(parameters["VisibilityTimeout"]), LONGEST_DELAY_SECONDS / 2)
    assert shortest * int(parameters["MaxReceiveCount"]) > DAY_SECONDS
    assert int(parameters["MaxReceiveCount"]) <= 1000


def test_an_outage_keeps_in_flight_messages_far_below_the_limit_of_sqs(template: Any) -> None:
    default = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    received_per_second = default["ConsumerConcurrency"] * default["ConsumerBatchSize"] / FAILURE_SECONDS
    longest = max(LONGEST_DELAY_SECONDS, default["VisibilityTimeout"])
    assert received_per_second * longest < 0.75 * MAX_IN_FLIGHT


def test_a_batch_is_not_tried_again_while_it_may_still_be_stored(parameters: dict[str, Any]) -> None:
    assert int(parameters["VisibilityTimeout"]) > int(parameters["ConsumerTimeout"])


def test_on_aws_the_visibility_is_six_times_the_functions_time(template: Any) -> None:
    parameters = template["Parameters"]
    assert parameters["VisibilityTimeout"]["Default"] >= 6 * parameters["ConsumerTimeout"]["Default"]


def test_the_consumer_has_time_for_a_transaction_that_begins_last(template: Any) -> None:
    longest = LAST_START_SECONDS + CONSUMER_LIMITS.transaction
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
        ("IngestFunction", {"sqs:SendMessage", "secretsmanager:GetSecretValue", "dynamodb:UpdateItem"}),
        (
            "ConsumerFunction",
            {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
                "secretsmanager:GetSecretValue",
            },
        ),
        ("SyncFunction", {"secretsmanager:GetSecretValue"}),
        ("RetentionFunction", {"secretsmanager:GetSecretValue"}),
        ("GraphqlFunction", {"secretsmanager:GetSecretValue"}),
        ("MigrationsFunction", {"secretsmanager:GetSecretValue"}),
        ("CanaryFunction", {"secretsmanager:GetSecretValue"}),
    ],
)
def test_a_function_may_do_what_it_needs_alone(template: Any, function: str, actions: set[str]) -> None:
    allowed: set[str] = set()
    for statement in statements(template, function):
        action = statement["Action"]
        allowed.update([action] if isinstance(action, str) else action)
    assert allowed == actions


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_decrypt_its_secrets_where_a_key_is_named(template: Any, function: str) -> None:
    decrypt = {"Fn::If": ["HasSecretsKeys", {"Ref": "DecryptSecrets"}, {"Ref": "AWS::NoValue"}]}
    assert decrypt in template["Resources"][function]["Properties"]["Policies"]
    (statement,) = template["Resources"]["DecryptSecrets"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("kms:Decrypt", {"Ref": "SecretsKeyArns"})
    secrets = str(statement["Condition"]["StringEquals"]["kms:EncryptionContext:SecretARN"])
    assert all(name in secrets for name in template["Parameters"] if "Secret" in name and name.endswith("Arn"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_needs_the_database_is_in_the_vpc(template: Any, function: str) -> None:
    assert "VpcConfig" not in template["Globals"]["Function"]
    properties = template["Resources"][function]["Properties"]
    needs_database = "DATABASE_SECRET_ARN" in properties["Environment"]["Variables"]
    assert needs_database is (function not in WITHOUT_DATABASE)
    assert ("VpcConfig" in properties) is needs_database


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name not in WITHOUT_DATABASE])
def test_what_reaches_the_database_has_every_setting_of_it(template: Any, function: str) -> None:
    variables = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    of_database = {name for name in SETTINGS if name.startswith("DATABASE_") and not name.endswith("_URL")}
    of_roles = {name for name in of_database if name.startswith(("DATABASE_READER_", "DATABASE_WRITER_"))}
    expected = of_database if function == "MigrationsFunction" else of_database - of_roles
    assert expected == {name for name in variables if name.startswith("DATABASE_")}


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "MigrationsFunction"])
def test_nothing_is_served_before_the_migrations_are_done(template: Any, function: str) -> None:
    resource = template["Resources"][function]
    takes_from_them = "${Migrations.Settings}" in str(resource["Properties"].get("Description"))
    assert takes_from_them or resource["DependsOn"] == "Migrations"


def test_no_event_is_taken_in_by_a_definition_that_the_consumer_does_not_have_yet(template: Any) -> None:
    assert template["Resources"]["IngestFunction"]["DependsOn"] == "ConsumerFunctionAliaslive"


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


def variables_of(template: Any, function: str) -> Any:
    return template["Resources"][function]["Properties"]["Environment"]["Variables"]


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        ("ConsumerFunction", "DatabaseWriterSecretArn"),
        ("SyncFunction", "DatabaseWriterSecretArn"),
        ("GraphqlFunction", "DatabaseReaderSecretArn"),
    ],
)
def test_a_function_logs_in_with_a_role_of_its_own_and_reads_no_other_login(
    template: Any, function: str, parameter: str
) -> None:
    login = variables_of(template, function)["DATABASE_SECRET_ARN"]["Fn::If"]
    assert login[1:] == [{"Ref": parameter}, {"Ref": "DatabaseSecretArn"}]
    read = [statement for statement in statements(template, function) if "secretsmanager" in str(statement["Action"])]
    assert {"Fn::If": login} in [resource for one in read for resource in listed(one["Resource"])]
    assert {"Ref": "DatabaseSecretArn"} not in [resource for one in read for resource in listed(one["Resource"])]


@pytest.mark.parametrize("function", ["RetentionFunction", "MigrationsFunction"])
def test_what_changes_tables_logs_in_as_their_owner(template: Any, function: str) -> None:
    assert variables_of(template, function)["DATABASE_SECRET_ARN"] == {"Ref": "DatabaseSecretArn"}
    assert variables_of(template, function)["DATABASE_HOST"] == {"Ref": "DatabaseHost"}


@pytest.mark.parametrize("function", ["ConsumerFunction", "GraphqlFunction"])
def test_what_runs_through_a_proxy_connects_to_its_address(template: Any, function: str) -> None:
    host = variables_of(template, function)["DATABASE_HOST"]["Fn::If"]
    assert host == ["HasDatabaseProxy", {"Ref": "DatabaseProxyHost"}, {"Ref": "DatabaseHost"}]
    port = variables_of(template, function)["DATABASE_PORT"]["Fn::If"]
    assert port == ["HasDatabaseProxy", {"Ref": "DatabaseProxyPort"}, {"Ref": "DatabasePort"}]
    assert template["Parameters"]["DatabaseProxyPort"]["Default"] == 5432  # RDS Proxy has no other


@pytest.mark.parametrize(("function", "seconds"), [("SyncFunction", 60), ("CanaryFunction", 300)])
def test_runs_that_could_not_start_do_not_pile_up(template: Any, function: str, seconds: int) -> None:
    properties = template["Resources"][function]["Properties"]
    schedule = properties["Events"]["Schedule"]["Properties"]["ScheduleExpression"]
    assert schedule == f"rate({seconds // 60} minute{'s' if seconds > 60 else ''})"
    # Lambda keeps throttled runs for six hours, unless it is told otherwise.
    assert properties["EventInvokeConfig"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}


@pytest.mark.parametrize("name", ["Ingest", "Consumer", "Graphql", "Sync"])
def test_executions_can_be_kept_for_a_function(template: Any, name: str) -> None:
    kept = template["Resources"][f"{name}Function"]["Properties"]["ReservedConcurrentExecutions"]["Fn::If"]
    assert kept == [f"Reserves{name}", {"Ref": f"{name}ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]
    assert template["Parameters"][f"{name}ReservedConcurrency"]["Default"] == ""


def test_migrations_may_go_on_by_invoking_themselves_alone(template: Any) -> None:
    policy = template["Resources"]["MigrationsGoOnPolicy"]["Properties"]
    assert policy["Roles"] == [{"Ref": "MigrationsFunctionRole"}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "lambda:InvokeFunction"
    assert statement["Resource"] == {"Fn::GetAtt": ["MigrationsFunction", "Arn"]}
    migrations = template["Resources"]["Migrations"]
    assert migrations["DependsOn"] == "MigrationsGoOnPolicy"
    assert migrations["Properties"]["ServiceTimeout"] == {"Ref": "MigrationsTotalTimeout"}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_function_knows_its_stack_and_whether_it_is_traced(template: Any) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["STACK_NAME"] == {"Ref": "AWS::StackName"}
    assert variables["TRACING"] == {"Fn::If": ["HasTracing", "on", "off"]}
    assert template["Globals"]["Function"]["Tracing"] == {"Ref": "Tracing"}
    assert template["Parameters"]["Tracing"]["Default"] == "Disabled"
