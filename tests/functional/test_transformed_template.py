"""What infra/template.yaml becomes once SAM has transformed it."""

import json
import re
from typing import Any

import pytest

from infra.local import deploy
from tests.support.policies import statements, wide_parts
from tests.support.transformed import refusals, transformed

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:name-AbCdEf"
GOOD = {"DatabaseSecretArn": SECRET, "AuthSecretArn": SECRET}
KEYS = {"AuthJwksUrl": "https://issuer.example/keys", "AuthSecretArn": ""}
ISSUER = KEYS | {"AuthIssuer": "https://issuer.example", "AuthAudience": "events"}

# Properties that name a resource for a whole account and region, or a whole account.
NAMES = (
    "AlarmName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "ManagedPolicyName",
    "Name",
    "QueueName",
    "RoleName",
)

# Managed policies of AWS that SAM attaches by itself.
ATTACHED_BY_SAM = {
    "AWSLambdaBasicExecutionRole": "SAM attaches it to each role that it makes; it allows nothing but writing logs",
    "AWSLambdaVPCAccessExecutionRole": "EC2 has no other resource than * for network interfaces that do not exist yet",
}


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({}, []),
        (ISSUER, []),
        ({"AuthSecretArn": ""}, ["AuthSecretArn and AuthJwksUrl"]),
        (ISSUER | {"AuthSecretArn": SECRET}, ["AuthSecretArn and AuthJwksUrl"]),
        (KEYS, ["AuthIssuer", "AuthAudience"]),
        (ISSUER | {"AuthIssuer": ""}, ["AuthIssuer"]),
        (ISSUER | {"AuthSecretPreviousArn": SECRET}, ["AuthSecretPreviousArn"]),
        ({"AuthSecretPreviousArn": SECRET}, []),
        ({"AuthClientIdAsAudience": "on"}, ["AuthAudience"]),
        ({"ConsumerBatchWindow": "0"}, ["ConsumerBatchWindow"]),
        ({"ConsumerBatchWindow": "0", "ConsumerBatchSize": "10"}, []),
        ({"ConsumerConcurrency": "1"}, ["ConsumerConcurrency"]),
        ({"ConsumerConcurrency": "0"}, []),
        ({"ConsumerConcurrency": "2"}, []),
        ({"SnapStart": "on"}, []),
        ({"SnapStart": "on", "IngestProvisionedConcurrency": "5"}, ["IngestProvisionedConcurrency"]),
        (
            {"SnapStart": "on", "ConsumerProvisionedConcurrency": "2", "GraphqlProvisionedConcurrency": "1"},
            ["ConsumerProvisionedConcurrency", "GraphqlProvisionedConcurrency"],
        ),
        ({"SnapStart": "on", "Architecture": "arm64", "DeploymentType": "Canary10Percent5Minutes"}, []),
        ({"IngestProvisionedConcurrency": "5", "IngestReservedConcurrency": "10"}, []),
        ({"IngestProvisionedConcurrency": "5", "IngestReservedConcurrency": "0"}, ["IngestProvisionedConcurrency"]),
        ({"ConsumerProvisionedConcurrency": "5", "ConsumerReservedConcurrency": "0"}, ["ConsumerProvisioned"]),
        ({"GraphqlProvisionedConcurrency": "5", "GraphqlReservedConcurrency": "0"}, ["GraphqlProvisioned"]),
        ({"SubnetIds": "subnet-1,subnet-2"}, ["SecurityGroupIds"]),
        ({"SecurityGroupIds": "sg-1"}, ["SubnetIds"]),
        ({"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, []),
    ],
)
def test_parameters_that_could_not_work_are_refused(parameters: dict[str, str], refused: list[str]) -> None:
    said = refusals(transformed(), GOOD | parameters)
    assert len(said) == len(refused)
    for name, reason in zip(refused, said, strict=True):
        assert name in reason


def test_the_parameters_of_the_local_stack_could_work_on_aws_too() -> None:
    assert refusals(transformed(), GOOD | deploy.local_parameters()) == []


def test_the_canary_has_all_its_parts_or_none_and_a_switch() -> None:
    template = transformed()
    parts = {name: part for name, part in template["Resources"].items() if name.startswith("Canary")}
    assert len(parts) >= 5
    assert {part.get("Condition") for part in parts.values()} == {"HasCanaryFunction"}
    assert template["Outputs"]["CanaryFunctionName"]["Condition"] == "HasCanaryFunction"
    schedule = parts["CanaryFunctionSchedule"]["Properties"]
    assert schedule["State"] == {"Fn::If": ["HasCanary", "ENABLED", "DISABLED"]}
    alarms = template["Resources"]["Watch"]["Properties"]["Parameters"]
    assert alarms["Canary"] == {"Fn::If": ["HasCanary", "on", "off"]}


def awaited(name: str, resources: dict[str, Any]) -> set[str]:
    """The resources that CloudFormation makes before this one: those that it names, and those that they name."""
    found, left = set[str](), [name]
    while left:
        one = resources[left.pop()]
        after = one.get("DependsOn", [])
        named = {after} if isinstance(after, str) else {*after}
        named |= {*re.findall(r'(?:"(?:Ref|Fn::GetAtt)": \[?"|\$\{)(\w+)', json.dumps(one))} & resources.keys()
        left += named - found
        found |= named
    return found


def test_everything_waits_for_what_examines_the_deployment_first() -> None:
    resources = transformed()["Resources"]
    assert resources["MigrationsFunction"]["Properties"]["Handler"] == "infra.deployment.handler"
    functions = {name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Function"}
    for name in functions - {"MigrationsFunction"}:
        assert "Migrations" in awaited(name, resources), name


def test_no_policy_names_all_actions_or_all_resources() -> None:
    found = 0
    for resource in transformed()["Resources"].values():
        for statement in statements(resource):
            found += 1
            assert wide_parts(statement) == set()
    assert found > len(ATTACHED_BY_SAM)


def test_aws_own_policies_are_those_that_sam_attaches() -> None:
    for resource in transformed()["Resources"].values():
        for attached in resource.get("Properties", {}).get("ManagedPolicyArns", []):
            if isinstance(attached, str):
                assert attached.rpartition("/")[2] in ATTACHED_BY_SAM


def test_the_ingest_function_has_no_rights_in_a_vpc() -> None:
    role = transformed()["Resources"]["IngestFunctionRole"]
    assert "AWSLambdaVPCAccessExecutionRole" not in json.dumps(role)


def test_whatever_is_named_is_named_by_the_stack() -> None:
    for name, resource in transformed()["Resources"].items():
        for key in NAMES:
            given = resource.get("Properties", {}).get(key)
            if given is not None and resource["Type"] != "AWS::Lambda::Alias":  # its name is within its function
                assert "Ref" in given or "${AWS::StackName}" in json.dumps(given), (name, key)


def test_what_the_gateway_answers_itself_has_the_form_of_the_functions() -> None:
    answers = transformed()["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED", "INTEGRATION_TIMEOUT", "REQUEST_TOO_LARGE"} <= answers.keys()
    for answer in answers.values():
        (template,) = answer["responseTemplates"].values()
        filled = template.replace("$context.error.messageString", '"text"')
        assert list(json.loads(filled)) == ["message"]
        origin = answer["responseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"]
        assert origin == {"Fn::If": ["HasCorsOrigins", "method.request.header.Origin", {"Ref": "AWS::NoValue"}]}
    assert (answers["THROTTLED"]["statusCode"], answers["INTEGRATION_TIMEOUT"]["statusCode"]) == ("429", "504")


def test_only_named_topics_rules_and_accounts_may_publish() -> None:
    policy = transformed()["Resources"]["QueuePolicy"]
    assert policy["Condition"] == "HasPublishers"
    by_sid = {statement["Sid"]: statement for statement in statements(policy)}
    assert by_sid["Topics"]["Principal"] == {"Service": "sns.amazonaws.com"}
    assert by_sid["Topics"]["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "PublisherTopicArns"}}}
    assert by_sid["Rules"]["Principal"] == {"Service": "events.amazonaws.com"}
    assert by_sid["Rules"]["Condition"] == {"ArnLike": {"aws:SourceArn": {"Ref": "PublisherRuleArns"}}}
    assert by_sid["Accounts"]["Principal"] == {"AWS": {"Ref": "PublisherAccountIds"}}
    assert {statement["Action"] for statement in by_sid.values()} == {"sqs:SendMessage"}
