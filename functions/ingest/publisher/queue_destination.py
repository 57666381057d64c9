"""Sends events directly to the queue, without the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from functions.ingest.contract import MAX_MESSAGE_BYTES
from functions.ingest.publisher.destination import TIMEOUT_SECONDS, Sender, Sent, Unacceptable, Unavailable, fault
from functions.ingest.turn import by_turn

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_sqs import SQSClient

_UNACCEPTABLE = frozenset({"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue", "MessageTooLong"})
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class QueueDestination:
    """The queue. IAM controls who may send to it, and each event must name its user.

    Args:
        queue_url: URL of the SQS queue.
        make_client: returns the SQS client, once in each sending process; by default a client for the region and
                credentials that boto3 finds.

    Raises:
        ImportError: boto3 is not installed.
    """

    queue_url: str
    make_client: "Callable[[], SQSClient] | None" = None
    max_bytes: int = field(default=MAX_MESSAGE_BYTES, init=False)

    def __post_init__(self) -> None:
        import boto3  # noqa: F401 - here: a process forked while a thread imports boto3 never gets boto3

    def open(self) -> Sender:
        """Returns a sender that makes its client at first use."""
        return _QueueSender(self.queue_url, self.make_client or _client)


class _QueueSender:
    """A client of the queue."""

    def __init__(self, queue_url: str, make_client: "Callable[[], SQSClient]") -> None:
        self._queue_url = queue_url
        self._make_client = make_client
        self._client: SQSClient | None = None

    def send(self, events: Sequence[bytes]) -> Sent:
        first, *further = by_turn(events)
        self._send_message(*first)
        accepted = len(first[1])
        for group, some in further:
            try:
                self._send_message(group, some)
            except (Unavailable, Unacceptable) as error:  # those of the first message have arrived
                return Sent(accepted=accepted, again=some, again_code=error.code)
            accepted += len(some)
        return Sent(accepted=accepted)

    def _send_message(self, group: str | None, events: Sequence[bytes]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        body = (b"[%b]" % b",".join(events)).decode()
        try:
            if self._client is None:
                self._client = self._make_client()
            if group is None:
                self._client.send_message(QueueUrl=self._queue_url, MessageBody=body)
            else:
                self._client.send_message(QueueUrl=self._queue_url, MessageBody=body, MessageGroupId=group)
        except ClientError as error:
            raise _fault(error) from error
        except BotoCoreError as error:
            raise Unavailable("unreachable", f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _client() -> "SQSClient":
    """Returns a client for the calling thread, without retries of its own, because the publisher retries."""
    import boto3
    from botocore.config import Config

    once = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    return boto3.session.Session().client("sqs", config=once)


def _fault(error: "ClientError") -> Unavailable | Unacceptable:
    """Returns the exception for an error from SQS."""
    code = error.response["Error"]["Code"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in _UNACCEPTABLE:
        return Unacceptable(code)
    is_throttled = "hrottl" in code  # SQS reports throttling with status 400 or 403
    return fault(_TOO_MANY_REQUESTS if is_throttled else status, code, str(error))
