"""Lambda function behind `POST /v1/events`: from HTTPS to the queue."""

import base64
import binascii
from datetime import UTC, datetime
from functools import partial
from typing import Any

import boto3
import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.ingest.intake import Answer, Intake, QueueUnavailable, TooLarge
from functions.shared import queue, registry, settings
from functions.shared.auth import Authenticator, Unauthenticated
from functions.shared.garbage import collected_afterwards
from functions.shared.rejection import Rejection

logger = Logger(level=settings.log_level())
authenticator = Authenticator(settings.auth())
intake = Intake(
    registry=registry.load(),
    retention_months=settings.retention_months(),
    send=partial(queue.send, boto3.client("sqs"), settings.queue_url()),
)

JSON_TYPES = frozenset({"", "application/json", "text/json", "text/plain"})


class Forbidden(Exception):
    """The token does not have the scope."""


class UnsupportedMediaType(Exception):
    """The body is of a type that holds no events."""


STATUSES: dict[type[Exception], int] = {
    Rejection: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    QueueUnavailable: 503,
}


@collected_afterwards()
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Answers API Gateway's request: what became of each event, or why none was looked at."""
    try:
        answer = _answer(event)
    except tuple(STATUSES) as error:
        logger.info("refused", extra={"status": STATUSES[type(error)], "reason": str(error)})
        return _response(STATUSES[type(error)], {"message": str(error)})
    logger.info(
        "taken in",
        extra={"accepted": answer.accepted, "ignored": answer.ignored, "rejected": len(answer.rejected)},
    )
    return _response(answer.status, answer)


def _answer(event: dict[str, Any]) -> Answer:
    headers = event.get("headers") or {}
    grant = authenticator.grant(headers)
    if not grant.may_write:
        raise Forbidden("The token needs the scope events:write or events:write:own.")
    _require_json(headers)
    return intake.take_in(_body(event), grant, datetime.now(UTC))


def _require_json(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if name.lower() == "content-type" and value.partition(";")[0].strip().lower() not in JSON_TYPES:
            raise UnsupportedMediaType(f"Events are sent as application/json, not as {value}.")


def _body(event: dict[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise Rejection("invalid_json", "The body is not base64, though the gateway says so.") from error


def _response(status: int, body: Any) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": msgspec.json.encode(body).decode(),
    }
