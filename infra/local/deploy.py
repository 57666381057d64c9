"""Deploys the real template to an AWS endpoint with `sam`, as for AWS."""

import contextlib
import io
import secrets
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from infra import package
from infra.local import secret_file, tools, zipped
from infra.local.process import StartError, run
from infra.stack_file import ACCOUNT, REGION

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

SAM = "aws-sam-cli==1.170.0"
STACK = "ai-usage-events"
ARTIFACTS_BUCKET = "ai-usage-events-artifacts"
REVOKED_TOKENS = "ai-usage-events-revoked-tokens"
DEPLOY_SECONDS = 600

DATABASE_SECRET = "ai-usage-events-database"  # noqa: S105 - the name of one
DATABASE_ROLES = {"DatabaseWriterSecretArn": "writer", "DatabaseReaderSecretArn": "reader"}
"""Role that the deployment makes, by the template's parameter for its secret."""


def client(service: Any, endpoint: str, config: Config | None = None) -> Any:
    """Returns a boto3 client of the endpoint."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCOUNT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ACCOUNT["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )


def auth_secret(folder: Path) -> str:
    """Returns the secret that signs the stack's tokens; creates it in the folder if missing."""
    return secret_file.read_or_create(folder / "auth_secret")


def check_definitions(*options: str) -> None:
    """Checks that the definitions are consistent.

    Args:
        options: options of `usage-events definitions check`.

    Raises:
        StartError: the definitions contradict each other; the message names the files.
    """
    command = [sys.executable, "-m", "infra.cli", "definitions", "check", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise StartError(f"The definitions contradict each other:\n{result.stderr.strip()}")


def put_secret(name: str, value: str, endpoint: str) -> str:
    """Stores `value` in Secrets Manager, and returns the secret's ARN."""
    manager = client("secretsmanager", endpoint)
    try:
        return str(manager.create_secret(Name=name, SecretString=value)["ARN"])
    except manager.exceptions.ResourceExistsException:
        return str(manager.put_secret_value(SecretId=name, SecretString=value)["ARN"])


def put_role_secrets(folder: Path, database_url: str, endpoint: str) -> dict[str, str]:
    """Stores the logins of the database's roles, and returns the template's parameters that name the secrets.

    The deployment makes the roles, with passwords from the folder.
    """
    parts = urlsplit(database_url)
    parameters = {}
    for parameter, role in DATABASE_ROLES.items():
        password = secret_file.read_or_create(folder / f"{role}_password")
        url = parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}").geturl()
        parameters[parameter] = put_secret(f"{DATABASE_SECRET}-{role}", url, endpoint)
    return parameters


def create_revocation_list(endpoint: str) -> str:
    """Returns the ARN of the list of revoked tokens; creates an empty list if missing."""
    manager = client("secretsmanager", endpoint)
    try:
        return str(manager.create_secret(Name=REVOKED_TOKENS, SecretString="{}")["ARN"])
    except manager.exceptions.ResourceExistsException:
        return str(manager.describe_secret(SecretId=REVOKED_TOKENS)["ARN"])


def require_functions(endpoint: str) -> None:
    """Checks that the endpoint runs functions.

    Raises:
        StartError: the endpoint does not run functions; the message says why.
    """
    functions = client("lambda", endpoint)
    name = f"{STACK}-{secrets.token_hex(4)}"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("nothing.py", "def handler(event, context): ...")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="nothing.handler",
        Role="arn:aws:iam::000000000000:role/nothing",
        Code={"ZipFile": archive.getvalue()},
    )
    try:
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
    except WaiterError as error:
        reason = functions.get_function_configuration(FunctionName=name).get("StateReason", error)
        raise StartError(
            f"{endpoint} does not run functions: {reason}\n"
            "LocalStack runs them in containers and therefore needs Docker. "
            "Unset AWS_ENDPOINT_URL and LOCALSTACK_HOST to let the stack start its own endpoint, which needs no Docker."
        ) from None
    finally:
        with contextlib.suppress(ClientError):  # LocalStack can't delete a function that it failed to create
            functions.delete_function(FunctionName=name)


def build(folder: Path, log: Path, *, for_this_machine: bool) -> None:
    """Checks the definitions, builds the functions' packages, and zips them.

    Args:
        for_this_machine: whether the functions run as processes on this machine. Their packages then hold wheels for
            this
            system and processor, otherwise wheels for the template's architecture.

    Raises:
        StartError: the definitions contradict each other, or `sam build` failed.
    """
    check_definitions("--offline")
    environment = {"PACKAGES_FOR": "host" if for_this_machine else "template", "DEFINITIONS_CHECKED": "yes"}
    build = folder / "sam" / "build"
    _sam(["build", "--build-dir", str(build)], "The build", log, environment)
    zipped.zip_packages(build, tools.ROOT / package.CACHE)


def deploy(folder: Path, endpoint: str, parameters: dict[str, str], log: Path) -> dict[str, str]:
    """Deploys the built functions anew, and returns the stack's outputs.

    Raises:
        StartError: the deployment failed; the message names the failed resources and why.
    """
    _remove(client("cloudformation", endpoint))
    client("s3", endpoint).create_bucket(Bucket=ARTIFACTS_BUCKET)
    return update(folder, endpoint, parameters, log)


def update(folder: Path, endpoint: str, parameters: dict[str, str], log: Path) -> dict[str, str]:
    """Deploys the built functions over what is deployed, as `sam deploy` does on AWS.

    Raises:
        StartError: the deployment failed; the message names the failed resources and why.
    """
    formation = client("cloudformation", endpoint)
    overrides = [f"{name}={value}" for name, value in (local_parameters() | parameters).items()]
    arguments = [
        "deploy",
        "--template-file",
        str(folder / "sam" / "build" / "template.yaml"),
        "--s3-bucket",
        ARTIFACTS_BUCKET,
    ]
    try:
        environment = {**ACCOUNT, "AWS_ENDPOINT_URL": endpoint}
        _sam([*arguments, "--parameter-overrides", *overrides], "The deployment", log, environment)
    except StartError as error:
        raise StartError("\n".join([str(error), *_reasons(formation)])) from None
    outputs = formation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def _remove(formation: "CloudFormationClient") -> None:
    """Removes an earlier deployment from the endpoint, because its functions use another database."""
    formation.delete_stack(StackName=STACK)
    formation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def enable_binary_bodies(endpoint: str, api_id: str) -> None:
    """Makes MiniStack pass bodies to functions as base64, as API Gateway does with binary media types.

    Otherwise MiniStack decodes bodies as UTF-8, which destroys gzip. MiniStack accepts `*/*` neither in the template's
    form for AWS nor in AWS's patch form.
    """
    unchecked = Config(parameter_validation=False)  # boto3 expects a single text as value
    types = {"op": "replace", "path": "/binaryMediaTypes", "value": ["*/*"]}
    client("apigateway", endpoint, unchecked).update_rest_api(restApiId=api_id, patchOperations=[types])


def point_canary(endpoint: str, function: str, api_url: str) -> None:
    """Tells the canary function where the API is: no emulator serves the API at the address that AWS would give it."""
    functions = client("lambda", endpoint)
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": variables | {"API_URL": api_url}}
    )


def local_parameters() -> dict[str, str]:
    """Returns the parameters of samconfig.toml for the local environment, which command line options would replace."""
    settings = tomllib.loads((tools.ROOT / "samconfig.toml").read_text())
    overrides = settings["local"]["deploy"]["parameters"]["parameter_overrides"]
    return dict(override.split("=", 1) for override in overrides)


def _sam(arguments: list[str], what: str, log: Path, environment: dict[str, str]) -> None:
    config = ["--config-file", str(tools.ROOT / "samconfig.toml"), "--config-env", "local"]
    command = [tools.uvx(), "--python", tools.base_python(), "--from", SAM, "sam", *arguments, *config]
    quiet = {"SAM_CLI_TELEMETRY": "0", "VIRTUAL_ENV": "", "PYTHONPATH": ""}
    try:
        code = run(command, log, quiet | environment, tools.ROOT, DEPLOY_SECONDS)
    except psutil.TimeoutExpired:
        raise StartError(f"{what} timed out after {DEPLOY_SECONDS} s; its log is {log}") from None
    if code != 0:
        raise StartError(f"{what} failed; its log is {log}")


def _reasons(formation: "CloudFormationClient") -> list[str]:
    """Returns the failed resources with their reasons, from the stack's events."""
    try:
        events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
    except ClientError:
        return []
    return [
        f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("FAILED") and event.get("ResourceStatusReason")
    ]
