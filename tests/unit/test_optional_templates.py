"""Properties of infra/network.yaml, infra/database.yaml and infra/account.yaml, and policies of all templates."""

from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from tests.support.checkout import ROOT
from tests.support.policies import statements, wide_parts
from tests.templates import TEMPLATES

# Parts of a policy that are *, because AWS has no other way.
WIDE = {
    "S3Endpoint": ({"Principal"}, "AWS takes no other principal in the policy of a gateway endpoint"),
}
ENDPOINTS = dict.fromkeys(("secretsmanager", "sqs", "lambda", "cloudformation"), "Interface") | {"s3": "Gateway"}


def read(name: str) -> Any:
    return cfn_yaml.load(str(ROOT / "infra" / f"{name}.yaml"))


def resources(template: Any, kind: str) -> dict[str, Any]:
    return {name: made["Properties"] for name, made in template["Resources"].items() if made["Type"] == kind}


@pytest.mark.parametrize(
    ("made_by", "needed_by", "names"),
    [
        ("network", "database", {"SubnetIds", "DatabaseSecurityGroupId"}),
        ("network", "template", {"SubnetIds", "SecurityGroupIds"}),
        ("database", "template", {"DatabaseSecretArn", "DatabaseHost", "DatabasePort", "DatabaseName"}),
    ],
)
def test_outputs_of_a_template_are_parameters_of_the_next(made_by: str, needed_by: str, names: set[str]) -> None:
    assert names <= read(made_by)["Outputs"].keys() & read(needed_by)["Parameters"].keys()


@pytest.mark.parametrize("name", [template.stem for template in TEMPLATES])
def test_a_policy_names_everything_only_where_aws_has_no_other_way(name: str) -> None:
    for resource, made in read(name)["Resources"].items():
        for statement in statements(made):
            allowed, _ = WIDE.get(resource, (set(), ""))
            assert wide_parts(statement) == allowed, resource


def test_the_services_that_functions_call_have_endpoints() -> None:
    endpoints = resources(read("network"), "AWS::EC2::VPCEndpoint").values()
    made = {one["ServiceName"]["Fn::Sub"].rpartition(".")[2]: one["VpcEndpointType"] for one in endpoints}
    assert made == ENDPOINTS
    assert all(one["PrivateDnsEnabled"] for one in endpoints if one["VpcEndpointType"] == "Interface")


def test_only_the_functions_reach_the_database_and_the_endpoints() -> None:
    groups = resources(read("network"), "AWS::EC2::SecurityGroup")
    for name, port in {"DatabaseSecurityGroup": 5432, "EndpointsSecurityGroup": 443}.items():
        (ingress,) = groups[name]["SecurityGroupIngress"]
        assert ingress["SourceSecurityGroupId"] == {"Ref": "FunctionsSecurityGroup"}
        assert (ingress["FromPort"], ingress["ToPort"]) == (port, port)
    assert "SecurityGroupIngress" not in groups["FunctionsSecurityGroup"]


def test_the_way_to_the_internet_is_only_made_on_request() -> None:
    for name, made in read("network")["Resources"].items():
        is_way_out = made["Type"] in {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route"}
        assert not is_way_out or made["Condition"] == "HasInternet", name


def test_the_database_is_closed_encrypted_and_kept_and_rds_rotates_its_password() -> None:
    template = read("database")
    (cluster,) = resources(template, "AWS::RDS::DBCluster").values()
    assert cluster["ManageMasterUserPassword"] is cluster["StorageEncrypted"] is cluster["DeletionProtection"] is True
    assert "MasterUserPassword" not in cluster
    assert template["Resources"]["Cluster"]["DeletionPolicy"] == "Snapshot"
    (parameters,) = resources(template, "AWS::RDS::DBClusterParameterGroup").values()
    assert parameters["Parameters"]["rds.force_ssl"] == "1"
    for instance in resources(template, "AWS::RDS::DBInstance").values():
        assert (instance["DBInstanceClass"], instance["PubliclyAccessible"]) == ("db.serverless", False)
