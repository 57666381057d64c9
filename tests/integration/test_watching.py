"""The nested stacks that watch, made by CloudFormation: alarms, objectives and the dashboard."""

import json
import secrets

import pytest
from localstack_client.session import Session

from tests.support.checkout import ROOT
from tests.support.watched import PARAMETERS

WAIT = {"Delay": 1, "MaxAttempts": 120}
FURTHER = {"GraphqlLogs": "graphql-logs", "IngestLogs": "ingest-logs"}


def dead_letter_alarm(session: Session, watched: str) -> None:
    """Checks the dimensions of an alarm as CloudWatch has them."""
    name = f"{watched}-DeadLetterAlarm"
    (alarm,) = session.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": PARAMETERS["DeadLetterQueueName"]}]


@pytest.mark.parametrize("name", ["alarms", "objectives", "dashboard"])
def test_cloudformation_makes_what_watches_a_stack(session: Session, endpoint: str, name: str) -> None:
    formation, watched = session.client("cloudformation"), f"test-{secrets.token_hex(4)}"
    stack = f"{watched}-{name}"
    body = (ROOT / "infra" / f"{name}.yaml").read_text()
    declared = formation.validate_template(TemplateBody=body[:51_200])["Parameters"]
    given = PARAMETERS | FURTHER | {"StackName": watched}
    parameters = [
        {"ParameterKey": one["ParameterKey"], "ParameterValue": given[one["ParameterKey"]]}
        for one in declared
        if one["ParameterKey"] in given
    ]
    formation.create_stack(StackName=stack, TemplateBody=body, Parameters=parameters)
    try:
        formation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig=WAIT)
        resources = formation.describe_stack_resources(StackName=stack)["StackResources"]
        if name == "alarms":
            dead_letter_alarm(session, watched)
        assert json.dumps(resources, default=str).count(watched) >= len(resources)
    finally:
        formation.delete_stack(StackName=stack)
