"""Handler of the stack's custom resource: applies the migrations at each deployment."""

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.shared import settings
from functions.shared.catalog import registry
from functions.shared.catalog.feature import DefinitionError
from functions.shared.failure import class_and_code, redact_errors, redacted
from functions.shared.postgres import reason_of
from infra.migrations.migrate import migrate

_ANSWER_TIMEOUT_SECONDS = 10
_RESERVE_SECONDS = 20  # time reserved for the answer
_MAX_REASON_CHARACTERS = 1000

type Migrate = Callable[[int], list[str]]
"""Applies the migrations with a time limit in seconds per statement and transaction; returns one line per change."""


def build(database_url: Callable[[], str], retention_months: Callable[[], int]) -> "MigrationsHandler":
    """Builds the handler; the settings are read at each deployment.

    CloudFormation thus learns which setting is wrong; a function that fails to start would keep it waiting.
    """

    def migrate_by_definitions(seconds: int) -> list[str]:
        return migrate(database_url(), registry.load(), retention_months(), seconds, settings.accept_unreadable())

    return MigrationsHandler(Logger(), migrate_by_definitions)


def put_answer(url: str, answer: dict[str, Any]) -> None:
    """Uploads the answer to CloudFormation's signed URL, which allows no content type."""
    request = urllib.request.Request(url, json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_SECONDS).close()  # noqa: S310 - CloudFormation's own URL


@dataclass(frozen=True, slots=True)
class MigrationsHandler:
    """Applies the migrations when the stack is created or updated.

    Attributes:
        send: called with CloudFormation's URL and the answer.
    """

    logger: Logger
    migrate: Migrate
    send: Callable[[str, dict[str, Any]], None] = put_answer

    @redact_errors()
    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answers CloudFormation's request; if the migrations fail, CloudFormation rolls the deployment back."""
        try:
            if event["RequestType"] != "Delete":
                seconds = context.get_remaining_time_in_millis() // 1000 - _RESERVE_SECONDS
                for line in self.migrate(seconds):
                    self.logger.info(line)
            status, reason = "SUCCESS", ""
        except Exception as error:
            reason = _reason(error)[:_MAX_REASON_CHARACTERS]
            self.logger.exception("The migrations failed", extra={"reason": reason}, exc_info=redacted(error))
            status = "FAILED"
        answer = {
            "Status": status,
            "Reason": reason,
            "PhysicalResourceId": event.get("PhysicalResourceId", "migrations"),
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        }
        self.send(event["ResponseURL"], answer)
        return answer


def _reason(error: Exception) -> str:
    """Describes the error for CloudFormation and the log, without quoting rows."""
    error = getattr(error, "orig", error)  # SQLAlchemy wraps psycopg's error
    match error:
        case DefinitionError() | settings.SettingError():
            return str(error)
        case psycopg.Error():
            return reason_of(error)
        case _:
            return class_and_code(error)
