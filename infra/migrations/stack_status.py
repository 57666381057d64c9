"""Asks CloudFormation what it is doing with the stack."""

_CONNECT_SECONDS = 3
_READ_SECONDS = 3
_ATTEMPTS = 2


def stack_status(stack_id: str) -> str:
    """Returns the status of a stack, like `UPDATE_ROLLBACK_IN_PROGRESS`.

    Raises:
        BotoCoreError: CloudFormation's API does not answer within 12 s. A VPC may have no way to it.
        ClientError: CloudFormation's API refused.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": _ATTEMPTS}
    )
    answer = boto3.client("cloudformation", config=config).describe_stacks(StackName=stack_id)
    return str(answer["Stacks"][0]["StackStatus"])
