"""Counters in DynamoDB that all instances of the function share.

A call may take 0.6 s in the worst case. After a failure there is none for a while, so that an outage of DynamoDB hardly
slows requests down, and refuses none.
"""

from functools import cached_property
from time import monotonic
from typing import Any

from aws_lambda_powertools import Logger

from functions.shared.failure import class_and_code

_CONNECT_SECONDS = 0.3
_READ_SECONDS = 0.3
_SECONDS_AFTER_FAILURE = 5
_KEPT_SECONDS = 24 * 60 * 60  # after the end of the counted period

logger = Logger(child=True)


class SharedCounter:
    """The counters of a table.

    Args:
        table: name of the DynamoDB table.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._failed_at = float("-inf")

    def add(self, group: str, begins: int, seconds: int, number: int) -> int | None:
        """Adds to the counter of a group and period; returns the new count, None if the table can't be reached.

        Args:
            begins: begin of the period in seconds since 1970.
            seconds: length of the period.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if monotonic() - self._failed_at < _SECONDS_AFTER_FAILURE:
            return None
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key={"id": {"S": f"{group} {seconds} {begins}"}},
                UpdateExpression="ADD #events :number SET #expires = :expires",
                ExpressionAttributeNames={"#events": "events", "#expires": "expires_at"},
                ExpressionAttributeValues={
                    ":number": {"N": str(number)},
                    ":expires": {"N": str(begins + seconds + _KEPT_SECONDS)},
                },
                ReturnValues="ALL_NEW",
            )
            return int(answer["Attributes"]["events"]["N"])
        except (BotoCoreError, ClientError, KeyError, ValueError) as error:
            self._failed_at = monotonic()
            logger.warning("The events of tenants can't be counted", extra={"reason": class_and_code(error)})
            return None

    @cached_property
    def _client(self) -> Any:
        from functions.shared import aws

        return aws.impatient_client("dynamodb", _CONNECT_SECONDS, _READ_SECONDS, attempts=1)
