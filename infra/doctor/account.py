"""Checks what lies in the AWS account: the queue, the list of revoked tokens, and the quota of executions."""

from collections.abc import Iterator

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.shared import settings
from infra.doctor.finding import Finding, Page, failed, ok, warning
from infra.doctor.system import System
from infra.operations.revoked_tokens import RevocationError, read

ORDINARY_EXECUTIONS = 1000  # quota of an account, unless it is new or has asked for more

_PATIENCE = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})


def check_account(system: System) -> Iterator[Finding]:
    """Asks AWS, or an emulator of it; yields nothing if no setting names anything there."""
    if not system.is_on_aws:
        return
    if system.queue is not None:
        yield from _check_queue(system.queue)
    arn = settings.auth_revocations_arn()
    yield ok("AWS: revoked tokens", "off") if arn is None else _check_revocations(arn)
    yield _check_executions()


def _check_queue(url: str) -> Iterator[Finding]:
    check = "AWS: queue"
    try:
        client = boto3.client("sqs", config=_PATIENCE)
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]).get("Attributes", {})
    except (BotoCoreError, ClientError) as error:
        remedy = "Correct QUEUE_URL, or allow sqs:GetQueueAttributes to the role of this command."
        yield failed(check, f"can't be read: {error}", remedy, Page.SETTINGS)
        return
    if "deadLetterTargetArn" not in msgspec.json.decode(found.get("RedrivePolicy", "{}")):
        remedy = "Deploy the template's queue: without dead letters, one broken message is tried for ever."
        yield failed(check, "has no dead-letter queue", remedy, Page.DEAD_LETTERS)
        return
    waiting = found["ApproximateNumberOfMessages"]
    # A message whose attempt failed is not visible until the next one.
    others = int(found["ApproximateNumberOfMessagesNotVisible"]) + int(found["ApproximateNumberOfMessagesDelayed"])
    yield ok(check, f"{waiting} messages wait, {others} are in flight or delayed")


def _check_revocations(arn: str) -> Finding:
    check = "AWS: revoked tokens"
    try:
        count = len(read(boto3.client("secretsmanager", config=_PATIENCE), arn).revoked)
    except (BotoCoreError, ClientError, RevocationError) as error:
        remedy = "Correct AUTH_REVOCATIONS_ARN; functions refuse all tokens while they can't read the list."
        return failed(check, f"the list can't be read: {error}", remedy, Page.TOKENS)
    return ok(check, f"the list has {count}")


def _check_executions() -> Finding:
    check = "AWS: executions of functions"
    try:
        limits = boto3.client("lambda", config=_PATIENCE).get_account_settings()["AccountLimit"]
        quota, free = int(limits["ConcurrentExecutions"]), int(limits["UnreservedConcurrentExecutions"])
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        remedy = "Nothing on a local stack. Elsewhere allow lambda:GetAccountSettings to the role of this command."
        return warning(check, f"the quota can't be read: {type(error).__name__}", remedy, Page.EXECUTIONS)
    if quota < ORDINARY_EXECUTIONS:
        remedy = "Ask AWS for a higher quota; an account with few executions can reserve none."
        return warning(
            check, f"the account has {quota}, where most have {ORDINARY_EXECUTIONS}", remedy, Page.EXECUTIONS
        )
    return ok(check, f"the account has {quota}, of which {free} are not reserved")
