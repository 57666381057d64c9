"""The resources that CloudFormation makes from infra/network.yaml."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from botocore.exceptions import WaiterError
from localstack_client.session import Session

from tests.support.checkout import ROOT

WAIT = {"Delay": 1, "MaxAttempts": 120}


@contextmanager
def network(session: Session, internet: str) -> Iterator[dict[str, str]]:
    """Deploys the template while the block runs; yields the outputs."""
    formation, name = session.client("cloudformation"), f"network-{secrets.token_hex(4)}"
    body = (ROOT / "infra" / "network.yaml").read_text()
    parameters = [{"ParameterKey": "InternetAccess", "ParameterValue": internet}]
    formation.create_stack(StackName=name, TemplateBody=body, Parameters=parameters)
    try:
        with suppress(WaiterError):
            formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=WAIT)
        events = formation.describe_stack_events(StackName=name)["StackEvents"]
        assert [event for event in events if event["ResourceStatus"].endswith("FAILED")] == []
        outputs = formation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
        yield {output["OutputKey"]: output["OutputValue"] for output in outputs}
    finally:
        formation.delete_stack(StackName=name)


def test_the_network_has_subnets_in_two_zones_and_the_endpoints(session: Session, endpoint: str) -> None:
    ec2 = session.client("ec2")
    with network(session, "off") as outputs:  # LocalStack can't make all that leads to the internet
        subnets = ec2.describe_subnets(SubnetIds=outputs["SubnetIds"].split(","))["Subnets"]
        assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
        assert {subnet["VpcId"] for subnet in subnets} == {outputs["VpcId"]}
        endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [outputs["VpcId"]]}])
        services = {one["ServiceName"].rpartition(".")[2] for one in endpoints["VpcEndpoints"]}
        assert services == {"secretsmanager", "sqs", "lambda", "cloudformation", "s3"}
        assert "NatAddress" not in outputs
