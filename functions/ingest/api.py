"""Lambda function behind `POST /v1/events` and GitLab's endpoints: from HTTPS to the queue."""

from functions.ingest.gc_tuning import gc_frozen

with gc_frozen():
    from collections.abc import Callable, Mapping
    from datetime import UTC, datetime
    from functools import partial
    from typing import Any

    import boto3
    import msgspec
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from botocore.config import Config

    from functions.ingest import gitlab, intake_metrics
    from functions.ingest.contract import Answer
    from functions.ingest.formats.body import Events
    from functions.ingest.formats.compression import TooLarge
    from functions.ingest.intake import Intake, QueueUnavailable
    from functions.ingest.request import EVENTS_PATH, Request, UnsupportedMediaType, events_of, read_request
    from functions.shared import queue, settings
    from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
    from functions.shared.catalog import registry
    from functions.shared.failure import without_contents
    from functions.shared.rejection import Rejection
    from functions.shared.tenant import tenant_of

# The gateway waits for 29 s, and a sender that has no answer by then can't know whether its events were queued. So SQS
# is given up after 17 s; before that, the issuer's keys may have taken 5 s, and the list of revoked tokens as many.
PATIENCE = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})

logger = Logger(level=settings.log_level())
authenticator = Authenticator(settings.auth())
intake = Intake(
    registry=registry.load(),
    retention_months=settings.retention_months(),
    send=partial(queue.send, boto3.client("sqs", config=PATIENCE), settings.queue_url()),
)


class Forbidden(Exception):
    """The token does not have the scope."""


STATUSES: dict[type[Exception], int] = {
    Rejection: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    KeysUnavailable: 503,
    RevocationsUnavailable: 503,
    QueueUnavailable: 503,
}


READERS: dict[str, Callable[[Request], Events]] = {
    EVENTS_PATH: events_of,
    gitlab.TRACK_EVENT_PATH: gitlab.tracked_event,
    gitlab.TRACK_EVENTS_PATH: gitlab.tracked_events,
}


@without_contents()
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Answers API Gateway's request: what became of each event, or why none was looked at."""
    request = read_request(event)
    try:
        answer = _answer(request)
    except tuple(STATUSES) as error:
        code = error.code if isinstance(error, Rejection) else type(error).__name__
        logger.info("refused", extra={"status": STATUSES[type(error)], "reason": code})
        challenge = {"WWW-Authenticate": error.challenge} if isinstance(error, Unauthenticated) else {}
        return _response(STATUSES[type(error)], {"message": str(error)}, challenge)
    logger.info(
        "taken in",
        extra={"accepted": answer.accepted, "ignored": answer.ignored, "rejected": len(answer.rejected)},
    )
    if request.path in gitlab.PATHS and not answer.rejected:
        return _response(200, gitlab.OK)
    return _response(answer.status, answer)


def _answer(request: Request) -> Answer:
    headers = gitlab.credentials(request.headers) if request.path in gitlab.PATHS else request.headers
    grant = authenticator.grant(headers)
    if not grant.may_write:
        raise Forbidden("The token needs the scope events:write or events:write:own.")
    events = READERS.get(request.path, events_of)(request)
    sizes = list(map(len, events.raw))
    answer = intake.take_in(events, grant, datetime.now(UTC), request.idempotency_key)
    size = sum(size for size, event_id in zip(sizes, answer.ids, strict=True) if event_id is not None)
    intake_metrics.count(tenant_of(grant), answer.accepted, size)
    return answer


def _response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": msgspec.json.encode(body).decode(),
    }
