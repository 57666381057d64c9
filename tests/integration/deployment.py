"""Deploys infra/template.yaml; without its functions if the endpoint runs none."""

import io
import json
import re
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, WaiterError
from localstack_client.session import Session

from infra.local import deploy
from infra.local.process import StartError
from infra.stack_file import REGION
from tests.support.transformed import BUCKET, PACKAGE, transformed

WAIT = {"Delay": 1, "MaxAttempts": 120}
NEED_FUNCTIONS = ("AWS::Lambda::", "Custom::")


class Deployment(NamedTuple):
    """A deployed stack.

    Attributes:
        outputs: the stack's outputs, by their names.
        resources: the physical id of each resource, by its name in the template.
        refused: reason for each resource of the whole template that could not be made, by name.
        functions: whether the functions were deployed.
        template: the expanded template without functions; empty if the functions were deployed.
    """

    outputs: dict[str, str]
    resources: dict[str, str]
    refused: dict[str, str]
    functions: bool
    template: str = ""


def runs_functions(endpoint: str) -> bool:
    """Whether the endpoint runs functions."""
    try:
        deploy.require_functions(endpoint)
    except StartError:
        return False
    return True


@contextmanager
def deployed_whole(session: Session, folder: Path, endpoint: str, parameters: dict[str, str]) -> Iterator[Deployment]:
    """Builds and deploys the template as `make start` does, in `folder`, while the block runs."""
    deploy.build(folder, folder / "build.log", for_this_machine=False)
    with _deleted_afterwards(session, deploy.STACK):
        outputs = deploy.deploy(folder, endpoint, parameters, folder / "deploy.log")
        yield Deployment(outputs, _resources(session, deploy.STACK), {}, functions=True)


@contextmanager
def deployed_without_functions(session: Session, parameters: dict[str, str]) -> Iterator[Deployment]:
    """Deploys the whole template, whose functions fail, then the expanded template without functions.

    Both stacks exist while the block runs.
    """
    formation = session.client("cloudformation")
    name = f"test-{secrets.token_hex(4)}"
    whole = f"{name}-whole"
    with _deleted_afterwards(session, whole), _deleted_afterwards(session, name):
        _create(session, whole, _with_a_package(session), parameters)
        refused = _refused(session, whole)
        processed = formation.get_template(StackName=whole, TemplateStage="Processed")["TemplateBody"]
        template = json.dumps(without_functions(processed))
        stack = _create(session, name, template, parameters)
        assert stack["StackStatus"] == "CREATE_COMPLETE", (stack["StackStatus"], _refused(session, name))
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        yield Deployment(outputs, _resources(session, name), refused, functions=False, template=template)


@contextmanager
def deployed_beside(session: Session, deployment: Deployment, parameters: dict[str, str]) -> Iterator[dict[str, str]]:
    """Deploys another stack of the same expanded template while the block runs; yields its physical ids."""
    name = f"twin-{secrets.token_hex(4)}"
    with _deleted_afterwards(session, name):
        stack = _create(session, name, deployment.template, parameters)
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack.get("StackStatusReason")
        yield _resources(session, name)


def without_functions(template: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an expanded template without the resources that need functions; references get the usual ARNs."""
    resources = template["Resources"]
    dropped = {name for name, resource in resources.items() if resource["Type"].startswith(NEED_FUNCTIONS)}
    kept = {name: _stood_in(resource, dropped) for name, resource in resources.items() if name not in dropped}
    assert not any("DependsOn" in resource for resource in kept.values())
    return {
        "Parameters": template["Parameters"],
        "Conditions": template["Conditions"],
        "Resources": kept,
        "Outputs": _stood_in(template["Outputs"], dropped),
    }


def function_arn(name: str) -> str:
    """Returns an ARN for a function that is not deployed."""
    return f"arn:aws:lambda:{REGION}:000000000000:function:{name}"


def _name_in_text(found: re.Match[str]) -> str:
    """Returns what a reference within a text would be: a function's name, or the ARN of its alias."""
    name, alias = found[1], found[2]
    return function_arn(f"{name}{alias}") if alias else name


def _stood_in(value: Any, dropped: set[str]) -> Any:
    """Returns the value with references to dropped resources replaced by the names or ARNs they would have."""
    match value:
        case {"Ref": name} if name in dropped:
            return name
        case {"Fn::GetAtt": [name, "Arn"]} if name in dropped:
            return function_arn(name)
        case {"Fn::GetAtt": [name, "Version"]} if name in dropped:
            return "1"
        case {"Fn::Sub": str(text)}:
            names = "|".join(map(re.escape, sorted(dropped)))
            text = re.sub(rf"\$\{{({names})\.Arn}}", lambda found: function_arn(found[1]), text)
            text = re.sub(rf"\$\{{(?=(?:{names})}})(\w+)Alias(\w+)}}", r"${\1:\2}", text)
            return {"Fn::Sub": re.sub(rf"\$\{{({names})(:\w+)?}}", _name_in_text, text)}
        case dict():
            return {key: _stood_in(inner, dropped) for key, inner in value.items()}
        case list():
            return [_stood_in(inner, dropped) for inner in value]
        case _:
            return value


def _create(session: Session, name: str, template: str, parameters: dict[str, str]) -> Any:
    """Creates a stack, and returns its description after success or failure."""
    formation, s3 = session.client("cloudformation"), session.client("s3")
    s3.put_object(Bucket=BUCKET, Key=name, Body=template.encode())  # a call may hold 51,200 bytes of template
    formation.create_stack(
        StackName=name,
        TemplateURL=f"{s3.meta.endpoint_url}/{BUCKET}/{name}",
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        OnFailure="DO_NOTHING",
    )
    with suppress(WaiterError):
        formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=WAIT)
    return formation.describe_stacks(StackName=name)["Stacks"][0]


def _refused(session: Session, name: str) -> dict[str, str]:
    """Returns why resources of a stack could not be created, by their names in the template."""
    events = session.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return {
        event["LogicalResourceId"]: event["ResourceStatusReason"]
        for event in events
        if event["ResourceStatus"] == "CREATE_FAILED" and event.get("ResourceStatusReason")
    }


@contextmanager
def _deleted_afterwards(session: Session, name: str) -> Iterator[None]:
    """Deletes the stack when the block ends."""
    try:
        yield
    finally:
        with suppress(ClientError):  # LocalStack fails to delete a stack whose parameter is a list of several values
            session.client("cloudformation").delete_stack(StackName=name)


def _with_a_package(session: Session) -> str:
    """Returns the template as SAM's transformation makes it, with an empty package for each function.

    LocalStack's own transformation comes after its check of references, also of those to what SAM makes.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("nothing.py", "")
    s3 = session.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=PACKAGE, Body=archive.getvalue())
    return json.dumps(transformed())


def _resources(session: Session, stack: str) -> dict[str, str]:
    resources = session.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
