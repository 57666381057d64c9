"""What CloudFormation asks for through the stack's custom resource: applies the migrations at each deployment."""

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
from functions.shared.failure import kind_of, withheld, without_contents
from functions.shared.postgres import reason_of
from infra.migrations.migrate import migrate

_ANSWER_TIMEOUT_SECONDS = 10
_RESERVE_SECONDS = 20  # for the answer
_LONGEST_REASON = 1000

type Migrate = Callable[[int], list[str]]
"""Applies the migrations, no statement or transaction of which may take more seconds; says what was done."""


def build(database_url: Callable[[], str], retention_months: Callable[[], int]) -> "MigrationsHandler":
    """The handler for these settings, which are asked for at each deployment.

    So CloudFormation is told which of them is wrong: a function that did not start would keep it waiting.
    """

    def migrate_by_definitions(seconds: int) -> list[str]:
        return migrate(database_url(), registry.load(), retention_months(), seconds)

    return MigrationsHandler(Logger(), migrate_by_definitions)


def put_answer(url: str, answer: dict[str, Any]) -> None:
    """Puts the answer where CloudFormation waits for it: a signed URL that takes no content type."""
    request = urllib.request.Request(url, json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_SECONDS).close()  # noqa: S310 - CloudFormation's own URL


@dataclass(frozen=True, slots=True)
class MigrationsHandler:
    """Applies the migrations whenever the stack is created or updated.

    Attributes:
        send: takes the URL and the answer that CloudFormation waits for.
    """

    logger: Logger
    migrate: Migrate
    send: Callable[[str, dict[str, Any]], None] = put_answer

    @without_contents()
    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answers CloudFormation's request; a deployment whose migrations fail is rolled back with their reason."""
        try:
            if event["RequestType"] != "Delete":
                seconds = context.get_remaining_time_in_millis() // 1000 - _RESERVE_SECONDS
                for line in self.migrate(seconds):
                    self.logger.info(line)
            status, reason = "SUCCESS", ""
        except Exception as error:
            reason = _reason(error)[:_LONGEST_REASON]
            self.logger.exception("The migrations failed", extra={"reason": reason}, exc_info=withheld(error))
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
    """What CloudFormation and the log are told; an error of the database may quote what is stored."""
    error = getattr(error, "orig", error)  # as SQLAlchemy wraps it
    match error:
        case DefinitionError() | settings.SettingError():
            return str(error)
        case psycopg.Error():
            return reason_of(error)
        case _:
            return kind_of(error)
