"""How a deployment replaces the functions: versions, the alias `live`, and what rolls a release back."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from functions.shared.metrics import NAMESPACE
from infra.docs.metrics import emitted
from tests.support.cloudwatch import Metrics, raised
from tests.support.transformed import transformed

GRADUAL = "DeploymentType=Canary10Percent5Minutes"
SERVING = ("IngestFunction", "ConsumerFunction", "GraphqlFunction")
NOT_OF_A_VERSION = {"ReservedConcurrentExecutions"}


def of_type(template: Any, kind: str) -> dict[str, Any]:
    """Returns the resources of a type, by name."""
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] == kind}


def alias(function: str) -> str:
    return f"{function}Aliaslive"


def parameters_in(value: Any, template: Any) -> Iterator[str]:
    """Yields the parameters that a value depends on, also those of its conditions."""
    match value:
        case {"Ref": name}:
            yield from {name} & template["Parameters"].keys()
        case {"Condition": str(name)}:
            yield from parameters_in(template["Conditions"][name], template)
        case {"Fn::If": [name, *inner]}:
            yield from parameters_in(template["Conditions"][name], template)
            yield from parameters_in(inner, template)
        case {"Fn::Sub": text}:
            yield from set(re.findall(r"\$\{(\w+)", str(text))) & template["Parameters"].keys()
        case dict():
            yield from parameters_in(list(value.values()), template)
        case list():
            for inner in value:
                yield from parameters_in(inner, template)


@pytest.mark.parametrize("parameters", [(), (GRADUAL,)], ids=["at once", "gradually"])
def test_requests_and_batches_go_to_the_live_version_alone(parameters: tuple[str, ...]) -> None:
    template = transformed(*parameters)
    for function in SERVING:
        live = template["Resources"][alias(function)]["Properties"]
        assert (live["Name"], live["FunctionName"]) == ("live", {"Ref": function})
        version = template["Resources"][live["FunctionVersion"]["Fn::GetAtt"][0]]
        assert version["Properties"]["FunctionName"] == {"Ref": function}
    (source,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert source["Properties"]["FunctionName"] == {"Ref": alias("ConsumerFunction")}
    api = json.dumps(template["Resources"]["Api"]["Properties"]["Body"])
    called = set(re.findall(r"functions/\$\{(\w+)[^}]*\}/invocations", api))
    assert called == {alias("IngestFunction"), alias("GraphqlFunction")}
    callers = of_type(template, "AWS::Lambda::Permission").values()
    assert {caller["Properties"]["FunctionName"]["Ref"] for caller in callers} == called


def test_an_event_is_accepted_only_when_the_whole_consumer_is_new() -> None:
    assert transformed()["Resources"]["IngestFunction"]["DependsOn"] == alias("ConsumerFunction")


def test_what_a_version_keeps_is_in_the_digest_that_publishes_the_next() -> None:
    template = transformed()
    settings = template["Resources"]["Migrations"]["Properties"]["Settings"]
    for function in SERVING:
        properties = template["Resources"][function]["Properties"]
        kept = {name: value for name, value in properties.items() if name not in NOT_OF_A_VERSION}
        assert set(parameters_in(kept, template)) <= set(parameters_in(settings, template))
        assert "${Migrations.Settings}" in properties["Description"]["Fn::Sub"]
        version = template["Resources"][alias(function)]["Properties"]["FunctionVersion"]["Fn::GetAtt"][0]
        assert "${Migrations.Settings}" in template["Resources"][version]["Properties"]["Description"]["Fn::Sub"]
    assert set(parameters_in(settings, template)) == {
        name
        for function in SERVING
        for properties in [template["Resources"][function]["Properties"]]
        for name in parameters_in({k: v for k, v in properties.items() if k not in NOT_OF_A_VERSION}, template)
    }


def test_a_resource_that_is_replaced_publishes_the_versions_that_use_it() -> None:
    template = transformed()
    settings = json.dumps(template["Resources"]["Migrations"]["Properties"]["Settings"])
    for function in SERVING:
        used = json.dumps(template["Resources"][function]["Properties"]["Environment"])
        resources = set(re.findall(r'"Ref": "(\w+)"', used)) & template["Resources"].keys()
        assert all(f'{{"Ref": "{name}"}}' in settings for name in resources), resources


def test_a_version_that_was_replaced_is_deleted() -> None:
    # With SnapStart it would cost for ever; and Lambda refuses to publish the code of the newest version again, as
    # after a release that was rolled back because its migrations failed.
    versions = of_type(transformed(), "AWS::Lambda::Version")
    assert len(versions) > len(SERVING)
    assert {name: version["DeletionPolicy"] for name, version in versions.items()} == dict.fromkeys(versions, "Delete")


def test_a_release_all_at_once_needs_no_codedeploy() -> None:
    template = transformed()
    assert "AWS::CodeDeploy" not in json.dumps(template["Resources"])
    assert not any("UpdatePolicy" in live for live in of_type(template, "AWS::Lambda::Alias").values())


def test_each_way_to_shift_is_codedeploys_except_all_at_once() -> None:
    template = transformed()
    types = template["Parameters"]["DeploymentType"]["AllowedValues"]
    gradual = {name: entry["Enabled"] for name, entry in template["Mappings"]["ShiftsGradually"].items()}
    assert gradual == {name: name != "AllAtOnce" for name in types}
    assert template["Conditions"]["ShiftsGradually"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "DeploymentType"}, types[0]]}]
    }


@pytest.mark.parametrize("function", SERVING)
def test_a_gradual_release_is_rolled_back_by_an_alarm_of_its_new_version(function: str) -> None:
    template = transformed(GRADUAL)
    resources = template["Resources"]
    update = resources[alias(function)]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = resources[update["DeploymentGroupName"]["Ref"]]["Properties"]
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert group["DeploymentConfigName"]["Fn::Sub"][1] == {"ConfigName": GRADUAL.partition("=")[2]}
    alarm = f"{function.removesuffix('Function')}ReleaseAlarm"
    assert group["AlarmConfiguration"]["Fn::If"][:2] == [
        "ShiftsGradually",
        {"Enabled": True, "Alarms": [{"Name": {"Ref": alarm}}]},
    ]
    assert resources[alarm]["Condition"] == "ShiftsGradually"
    errors = resources[alarm]["Properties"]["Metrics"][1]["MetricStat"]
    assert {one["Name"]: one["Value"] for one in errors["Metric"]["Dimensions"]} == {
        "FunctionName": {"Ref": function},
        "Resource": {"Fn::Sub": f"${{{function}}}:live"},
        "ExecutedVersion": resources[alias(function)]["Properties"]["FunctionVersion"],
    }
    assert errors["Period"] == 60


def with_versions(value: Any, live: str) -> Any:
    """Returns a value of the template with names in place of references; each function's new version is `live`."""
    match value:
        case {"Ref": "AWS::StackName"}:
            return "stack"
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [_, "Version"]}:
            return live
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{(\w+)\}", r"\1", text.replace("${AWS::StackName}", "stack"))
        case dict():
            return {key: with_versions(inner, live) for key, inner in value.items()}
        case list():
            return [with_versions(inner, live) for inner in value]
        case _:
            return value


def errors_of(function: str, version: str) -> tuple[str, str, dict[str, str]]:
    """Returns how CloudWatch names the errors of a version that the alias invoked."""
    dimensions = {"FunctionName": function, "Resource": f"{function}:live", "ExecutedVersion": version}
    return "AWS/Lambda", "Errors", dimensions


ANSWERS = ("AWS/ApiGateway", "5XXError", {"ApiName": "stack", "Stage": "StageName"})
UNCONSUMABLE = (NAMESPACE, "UnconsumableMessages", {"stack": "stack", "service": "consumer"})
QUERIES = (NAMESPACE, "FailedQueries", {"stack": "stack", "service": "graphql"})


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        (errors_of("IngestFunction", "7"), [1], {"IngestReleaseAlarm"}),
        (errors_of("ConsumerFunction", "7"), [1], {"ConsumerReleaseAlarm"}),
        (errors_of("GraphqlFunction", "7"), [0, 0, 1], {"GraphqlReleaseAlarm"}),
        (errors_of("IngestFunction", "7"), [0, 0, 0], set()),
        (errors_of("IngestFunction", "6"), [1, 1, 1], set()),  # the version before
        (ANSWERS, [1] * 3 + [0] * 97, {"IngestReleaseAlarm"}),  # a third of the tenth
        (ANSWERS, [1] + [0] * 99, set()),
        (UNCONSUMABLE, [0, 1], {"ConsumerReleaseAlarm"}),
        (QUERIES, [1] + [0] * 9, {"GraphqlReleaseAlarm"}),
        (QUERIES, [1] + [0] * 99, set()),
    ],
)
def test_a_fault_of_the_new_version_raises_its_alarm_within_a_minute(
    metric: tuple[str, str, dict[str, str]], values: list[float], expected: set[str]
) -> None:
    watching = of_type(transformed(GRADUAL), "AWS::CloudWatch::Alarm")
    alarms = {
        name: {"Type": alarm["Type"]} | with_versions(alarm["Properties"], "7") for name, alarm in watching.items()
    }
    metrics = Metrics()
    assert raised(alarms, metrics, now=600) == set()
    metrics.record(*metric, 590, *values)
    assert raised(alarms, metrics, now=600) == expected


def test_a_release_is_rolled_back_by_metrics_that_the_functions_emit() -> None:
    watched = {
        (query["MetricStat"]["Metric"]["Dimensions"][1]["Value"], query["MetricStat"]["Metric"]["MetricName"])
        for alarm in of_type(transformed(GRADUAL), "AWS::CloudWatch::Alarm").values()
        for query in alarm["Properties"]["Metrics"]
        if query.get("MetricStat", {}).get("Metric", {}).get("Namespace") == NAMESPACE
    }
    assert watched == {("consumer", "UnconsumableMessages"), ("graphql", "FailedQueries")}
    assert watched <= {(function, metric.name) for function, metric in emitted()}


def test_codedeploy_may_shift_these_functions_alone() -> None:
    resources = transformed(GRADUAL)["Resources"]
    assert "CodeDeployServiceRole" not in resources  # SAM's own may shift every function of the account
    (policy,) = resources["ReleaseRole"]["Properties"]["Policies"]
    shift, look = policy["PolicyDocument"]["Statement"]
    assert set(shift["Action"]) == {"lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig"}
    assert all("*" not in json.dumps(resource) for resource in shift["Resource"])
    assert look["Action"] == "cloudwatch:DescribeAlarms"
    for group in of_type(transformed(GRADUAL), "AWS::CodeDeploy::DeploymentGroup").values():
        assert group["Properties"]["ServiceRoleArn"]["Fn::If"][1] == {"Fn::GetAtt": ["ReleaseRole", "Arn"]}


@pytest.mark.parametrize("function", SERVING)
def test_executions_of_the_live_version_can_be_kept_started(function: str) -> None:
    template = transformed()
    name = function.removesuffix("Function")
    kept = template["Resources"][alias(function)]["Properties"]["ProvisionedConcurrencyConfig"]["Fn::If"]
    number = {"ProvisionedConcurrentExecutions": {"Ref": f"{name}ProvisionedConcurrency"}}
    assert kept == [f"Provisions{name}", number, {"Ref": "AWS::NoValue"}]
    pattern = template["Parameters"][f"{name}ProvisionedConcurrency"]["AllowedPattern"]
    assert [bool(re.fullmatch(pattern, text)) for text in ("", "1", "20", "0", "many")] == [True] * 3 + [False] * 2


def test_what_serves_may_start_from_a_snapshot() -> None:
    resources = transformed()["Resources"]
    starts = {
        name: function["Properties"]["SnapStart"]["ApplyOn"]["Fn::If"]
        for name, function in of_type(transformed(), "AWS::Lambda::Function").items()
        if "SnapStart" in function["Properties"]
    }
    assert starts.keys() == set(SERVING)
    assert all(start == ["HasSnapStart", "PublishedVersions", "None"] for start in starts.values())
    assert "AWS::EFS" not in json.dumps(resources)  # Lambda allows neither with a snapshot
    assert "EphemeralStorage" not in json.dumps(resources)
