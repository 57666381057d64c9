"""Handler of the stack's custom resource: applies the migrations at each deployment.

CloudFormation waits up to an hour for the answer, but an invocation ends after fifteen minutes at most. If the time
ends before the migrations do, the handler invokes its function again with the same request, and leaves the answer to
the last invocation. CloudFormation invokes the function asynchronously. So if the next invocation can't be requested (a
VPC may have no way to Lambda's API), the handler raises, and Lambda retries the request.

A rollback must succeed while PostgreSQL is away. So the handler answers its request first, and then adapts the database
as far as it can. See docs/decisions/0008-rollbacks.md.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.shared import settings
from functions.shared.catalog import registry
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.failure import class_and_code, redact_errors, redacted
from functions.shared.postgres import reason_of
from infra.migrations.answer import put_answer
from infra.migrations.budget import Unfinished
from infra.migrations.migrate import migrate
from infra.migrations.not_ready import NotReady
from infra.migrations.roles import roles_of_settings
from infra.migrations.stack_status import stack_status

_RESERVE_SECONDS = 20  # time reserved for the answer
_AFTER_ROLLBACK_SECONDS = 30  # less than until the next deployment comes to its migrations
_MAX_REASON_CHARACTERS = 1000
_DIGEST_CHARACTERS = 16

_DEFAULT_TOTAL_SECONDS = 3600  # for which CloudFormation waits unless it is told otherwise
_BEGUN_AT = "BegunAt"  # key that the handler adds to the request for the next invocation

type Migrate = Callable[[int, Callable[[str], None]], object]
"""Applies the migrations within some seconds, and calls the function with a line for each change."""


def _require_nothing(_: Callable[[str], None]) -> None:
    """Stands in for `infra.doctor.deployment.require_ready` where nothing is to be examined."""


def build(
    database_url: Callable[[], str],
    retention_months: Callable[[], int],
    require_ready: Callable[[Callable[[str], None]], None] = _require_nothing,
    clock: Callable[[], float] = time.monotonic,
) -> "MigrationsHandler":
    """Builds the handler; the settings are read at each deployment.

    CloudFormation thus learns which setting is wrong; a function that fails to start would keep it waiting.

    Args:
        require_ready: called before anything is changed; raises `NotReady` if the deployment could not work.
        clock: seconds since some moment, by which what is examined takes of the time for the migrations.
    """

    def migrate_by_definitions(seconds: int, progress: Callable[[str], None]) -> None:
        give_up = clock() + seconds
        require_ready(progress)
        accepted, roles, definitions = settings.accept_unreadable(), roles_of_settings(), registry.load()
        migrate(database_url(), definitions, retention_months(), give_up - clock(), accepted, roles, progress)

    return MigrationsHandler(Logger(), migrate_by_definitions)


def invoke_again(function: str, event: dict[str, Any]) -> None:
    """Invokes the function asynchronously.

    Raises:
        BotoCoreError: Lambda's API does not answer.
        ClientError: Lambda's API refused.
    """
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})
    boto3.client("lambda", config=config).invoke(
        FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode()
    )


def digest(settings_of_functions: object) -> str:
    """Returns a short text that is the same for the same parameters of a deployment, and another one for others.

    The descriptions of the functions hold it, so that a change of parameters publishes new versions of them.
    """
    text = json.dumps(settings_of_functions, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class MigrationsHandler:
    """Applies the migrations when the stack is created or updated.

    Attributes:
        send: called with CloudFormation's URL and the answer.
        invoke: called with the function's ARN and the request, if the migrations need more time.
        clock: seconds since 1970, which the next invocation has to understand too.
        status: returns the status of the stack with an id. See `stack_status`.
    """

    logger: Logger
    migrate: Migrate
    send: Callable[[str, dict[str, Any]], None] = put_answer
    invoke: Callable[[str, dict[str, Any]], None] = invoke_again
    clock: Callable[[], float] = time.time
    status: Callable[[str], str] = stack_status

    @redact_errors(Unfinished)
    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answers CloudFormation's request; if the migrations fail, CloudFormation rolls the deployment back.

        Returns:
            The answer, or the request to the next invocation.
        """
        if event["RequestType"] == "Delete":
            return self._answer(event, "SUCCESS")
        if self._is_rollback(event):
            answer = self._answer(event, "SUCCESS")
            self._adapt_to_older_release(context)
            return answer
        return self._deploy(event, context)

    def _is_rollback(self, event: dict[str, Any]) -> bool:
        """Whether the request belongs to a rollback; False if CloudFormation can't be asked.

        A rollback of a creation deletes.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if event["RequestType"] != "Update" or _BEGUN_AT in event:
            return False
        try:
            return "ROLLBACK_IN_PROGRESS" in self.status(event["StackId"])
        except (BotoCoreError, ClientError) as error:
            self.logger.warning(
                "CloudFormation can't be asked whether this is a rollback; it is handled as a deployment",
                extra={"reason": class_and_code(error)},
            )
            return False

    def _adapt_to_older_release(self, context: LambdaContext) -> None:
        """Records the older definitions, and sets the roles as they were, if PostgreSQL is there."""
        try:
            self.migrate(int(min(_seconds_left(context), _AFTER_ROLLBACK_SECONDS)), self.logger.info)
        except Exception as error:
            self.logger.exception(
                "The rollback left roles, definitions and partitions as they are; run usage-events migrate",
                extra={"reason": _reason(error)[:_MAX_REASON_CHARACTERS]},
                exc_info=redacted(error),
            )

    def _deploy(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        begun_at = float(event.get(_BEGUN_AT, self.clock()))
        seconds = _seconds_left(context)
        total = float(event.get("ResourceProperties", {}).get("TotalSeconds", _DEFAULT_TOTAL_SECONDS))
        left = begun_at + total - _RESERVE_SECONDS - self.clock()
        try:
            self.migrate(max(1, int(min(seconds, left))), self.logger.info)
        except Unfinished as unfinished:
            if left > seconds:
                return self._go_on(event | {_BEGUN_AT: begun_at}, context, unfinished)
            reason = f"After {total:.0f} s, {unfinished}."[:_MAX_REASON_CHARACTERS]
            self.logger.warning("The migrations did not end in time", extra={"reason": reason})
            return self._answer(event, "FAILED", reason)
        except Exception as error:
            reason = _reason(error)[:_MAX_REASON_CHARACTERS]
            self.logger.exception("The migrations failed", extra={"reason": reason}, exc_info=redacted(error))
            return self._answer(event, "FAILED", reason)
        return self._answer(event, "SUCCESS")

    def _answer(self, event: dict[str, Any], status: str, reason: str = "") -> dict[str, Any]:
        """Sends CloudFormation the answer to a request, and returns the answer."""
        answer = {
            "Status": status,
            "Reason": reason,
            "PhysicalResourceId": event.get("PhysicalResourceId", "migrations"),
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
            "Data": {"Settings": digest(event.get("ResourceProperties", {}).get("Settings"))},
        }
        self.send(event["ResponseURL"], answer)
        return answer

    def _go_on(self, event: dict[str, Any], context: LambdaContext, unfinished: Unfinished) -> dict[str, Any]:
        """Has the next invocation continue.

        Raises:
            Unfinished: it can't be requested. Lambda then retries this request.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.invoke(context.invoked_function_arn, event)
        except (BotoCoreError, ClientError) as error:
            self.logger.warning("Lambda's API can't be asked to go on", extra={"reason": class_and_code(error)})
            raise unfinished from error
        self.logger.info("The next invocation goes on")
        return event


def _seconds_left(context: LambdaContext) -> float:
    """Seconds that the invocation may spend on the migrations."""
    return context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS


def _reason(error: Exception) -> str:
    """Describes the error for CloudFormation and the log, without quoting rows."""
    error = getattr(error, "orig", error)  # SQLAlchemy wraps psycopg's error
    match error:
        case DefinitionError() | NotReady() | settings.SettingError() | Unfinished():
            return str(error)
        case psycopg.Error():
            return reason_of(error)
        case _:
            return class_and_code(error)
