"""Delays the next delivery of messages that were not stored, and slows down while PostgreSQL fails.

Lambda does not do so by itself: with `ReportBatchItemFailures` it goes on polling as fast as before, and a reported
message is hidden until the visibility timeout of the queue is over.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import batched
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from functions.shared.failure import class_and_code

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FIRST_DELAY_SECONDS = 2
LONGEST_DELAY_SECONDS = 240
"""What waits is tried again within this time, so that it is stored within five minutes of PostgreSQL's return."""

FAILURE_SECONDS = 5
"""A batch that PostgreSQL fails on takes at least this time, which limits how many messages are received meanwhile."""

_MAX_ENTRIES = 10
_CALL_SECONDS = 4  # for connecting and reading, and some for ending the invocation
_CONNECT_SECONDS = 1
_READ_SECONDS = 2

logger = Logger(child=True)


def longest_delay(receives: int) -> int:
    """Returns the longest delay of a message after so many receives: doubled each time, up to the limit."""
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS << min(receives - 1, 16))


def random_delay(receives: int) -> int:
    """Returns a delay between half of the longest and the longest one, so that messages come back one after another."""
    longest = longest_delay(receives)
    return random.randint((longest + 1) // 2, longest)  # noqa: S311 - not a secret


def sqs() -> "SQSClient":
    """Returns a client that gives up early: the function's time may be nearly over."""
    from functions.shared import aws

    client: SQSClient = aws.impatient_client("sqs", _CONNECT_SECONDS, _READ_SECONDS, attempts=1)
    return client


@dataclass
class Redelivery:
    """Says when SQS delivers messages again.

    Attributes:
        make_client: makes the client of SQS, only once it is needed: starts without a failure need none.
        delay: returns the delay in seconds of a message after a number of receives.
        sleep: waits for a number of seconds.
    """

    queue_url: str
    make_client: "Callable[[], SQSClient]" = sqs
    delay: Callable[[int], int] = random_delay
    sleep: Callable[[float], object] = field(default=time.sleep)

    @cached_property
    def _client(self) -> "SQSClient":
        return self.make_client()

    def postpone(
        self, records: Iterable[Mapping[str, Any]], failed: Callable[[str], bool], seconds_left: Callable[[], float]
    ) -> None:
        """Hides the messages until their delays are over.

        If SQS can't be reached, or the time ends, the rest stays hidden until the queue's visibility timeout is over.

        Args:
            failed: whether a message with this id was tried; one that was not comes back soon.
            seconds_left: returns the seconds until Lambda ends the function.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        for some in batched(records, _MAX_ENTRIES, strict=False):
            if seconds_left() < _CALL_SECONDS:
                return
            receives = [_receives(record) if failed(record["messageId"]) else 1 for record in some]
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": record["receiptHandle"], "VisibilityTimeout": self.delay(number)}
                for index, (record, number) in enumerate(zip(some, receives, strict=True))
            ]
            try:
                self._client.change_message_visibility_batch(QueueUrl=self.queue_url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                logger.warning("Messages are not delivered earlier", extra={"reason": class_and_code(error)})
                return

    def slow_down(self, seconds_taken: float, seconds_left: Callable[[], float]) -> None:
        """Waits until the invocation has taken `FAILURE_SECONDS`, so that Lambda polls less."""
        pause = min(FAILURE_SECONDS - seconds_taken, seconds_left() - _CALL_SECONDS)
        if pause > 0:
            self.sleep(pause)


def _receives(record: Mapping[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])
