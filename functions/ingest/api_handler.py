"""Handles the requests of `POST /v1/events` and GitLab's endpoints."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from itertools import compress
from time import perf_counter
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from botocore.config import Config

from functions.ingest import intake_metrics
from functions.ingest.contract import Answer
from functions.ingest.formats.adapter import RequestFormat
from functions.ingest.formats.compression import TooLarge
from functions.ingest.formats.table import events_of, format_of
from functions.ingest.intake import Intake, QueueUnavailable
from functions.ingest.limiter import Limiter, TooManyEvents
from functions.ingest.request import Request, UnsupportedEncoding, UnsupportedMediaType, read_request
from functions.ingest.shared_counter import SharedCounter
from functions.shared import aws, correlation, queue
from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
from functions.shared.catalog import registry
from functions.shared.cors import NO_ORIGINS, PREFLIGHT, Cors
from functions.shared.failure import redact_errors
from functions.shared.rejection import Rejection
from functions.shared.settings import AuthSettings
from functions.shared.tenant import tenant_of
from functions.shared.tenant_limits import NO_TENANT_LIMITS, TenantLimits
from functions.shared.timestamp import utc_now
from functions.shared.tracing import span

# API Gateway gives up after 29 s, and then the sender can't know whether its events were queued. SQS calls may take
# 17 s, because fetching the issuer's keys and the list of revoked tokens may take 5 s each before them.
PATIENCE = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


class Forbidden(Exception):
    """The token lacks the required scope."""


STATUSES: dict[type[Exception], int] = {
    Rejection: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    UnsupportedEncoding: 415,
    TooManyEvents: 429,
    KeysUnavailable: 503,
    RevocationsUnavailable: 503,
    QueueUnavailable: 503,
}


def build(
    *,
    auth: AuthSettings,
    queue_url: str,
    retention_months: int,
    cors_origins: frozenset[str] = frozenset(),
    log_level: str = "INFO",
    limits: TenantLimits = NO_TENANT_LIMITS,
) -> "IngestHandler":
    """Returns the handler for these settings; opens no connections."""
    send = partial(queue.send_for_request, aws.session().client("sqs", config=PATIENCE), queue_url)
    intake = Intake(registry.load(), retention_months, send)
    limiter = Limiter(limits, SharedCounter(limits.table)) if limits else None
    return IngestHandler(Logger(level=log_level), Authenticator(auth), intake, Cors(cors_origins), limiter=limiter)


class IngestHandler(msgspec.Struct):
    """Answers requests of API Gateway.

    Attributes:
        cors: the origins whose pages may send events.
        now: returns the current time with its UTC offset.
        limiter: limits the events of a tenant; None without limits.
    """

    logger: Logger
    authenticator: Authenticator
    intake: Intake
    cors: Cors = NO_ORIGINS
    now: Callable[[], datetime] = utc_now
    limiter: Limiter | None = None

    @redact_errors()
    def __call__(self, event: dict[str, Any], _: object) -> dict[str, Any]:
        """Answers a request with the outcome of each event, or with the reason why the whole request was refused."""
        request_id = correlation.begin(event)
        if event.get("httpMethod") == PREFLIGHT:
            answer = self.cors.preflight(event, "POST")
        else:
            self.logger.append_keys(request_id=request_id)
            answer = self.cors.allowed(self._answered(event, request_id), event)
        return correlation.answered(answer, request_id)

    def _answered(self, event: dict[str, Any], request_id: str) -> dict[str, Any]:
        start = perf_counter()
        request = read_request(event)
        form = format_of(request)
        try:
            answer, tenant, size = self._answer(request, form)
        except tuple(STATUSES) as error:
            status = STATUSES[type(error)]
            code = error.code if isinstance(error, Rejection) else type(error).__name__
            self.logger.info("refused", extra={"status": status, "reason": code})
            group = error.group if isinstance(error, TooManyEvents) else None
            intake_metrics.count_refused(status, code, _milliseconds_since(start), request_id, group)
            return _response(status, {"message": str(error)}, _headers(error))
        intake_metrics.count_answer(answer, tenant, size, _milliseconds_since(start), request_id)
        self.logger.info(
            "taken in",
            extra={"accepted": answer.accepted, "ignored": answer.ignored, "rejected": len(answer.rejected)},
        )
        return _response(*form.answer(answer))

    def _answer(self, request: Request, form: RequestFormat) -> tuple[Answer, str, int]:
        """Returns the answer, the tenant, and the size of the accepted events in bytes, unpacked."""
        with span("verify token"):
            grant = self.authenticator.grant(form.credentials(request.headers))
        if not grant.may_write:
            raise Forbidden("The token needs the scope events:write or events:write:own.")
        if self.limiter is not None:
            self.limiter.require_room(grant)
        events = events_of(request, form)
        if grant.is_canary and len(events.raw) > 1:  # nothing else limits a canary
            raise Forbidden("The token of a canary sends one event in a request.")
        with span("take in"):
            answer = self.intake.take_in(events, grant, self.now(), request.idempotency_key)
        if self.limiter is not None:
            self.limiter.count(grant, answer.accepted)
        accepted = compress(events.raw, answer.ids)  # an id is true
        return answer, tenant_of(grant), sum(map(len, accepted))


def _milliseconds_since(start: float) -> float:
    return round((perf_counter() - start) * 1000, 1)


def _headers(error: Exception) -> Mapping[str, str]:
    """Returns the headers that say what would be right."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, TooManyEvents):
        return {"Retry-After": str(error.retry_after)}
    return {"Accept-Encoding": "gzip"} if isinstance(error, UnsupportedEncoding) else {}


def _response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": msgspec.json.encode(body).decode(),
    }
