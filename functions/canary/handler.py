"""Handler of the canary function, invoked every five minutes."""

from dataclasses import dataclass
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.canary import canary_metrics
from functions.canary.canary import Canary
from functions.canary.token import token_source
from functions.shared.correlation import invocation_of
from functions.shared.failure import redact_errors
from functions.shared.settings import CanarySettings

RESERVE_SECONDS = 40
"""Time for the last request, which may take 30 s, and for the answer."""


def build(settings: CanarySettings, log_level: str = "INFO") -> "CanaryHandler":
    """Returns the handler for these settings; opens no connections."""
    return CanaryHandler(Logger(level=log_level), Canary(settings.api_url, token_source(settings.tokens)))


@dataclass(frozen=True, slots=True)
class CanaryHandler:
    """Sends a canary event at each invocation."""

    logger: Logger
    canary: Canary

    @redact_errors()
    def __call__(self, _: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Returns what became of the event. A failure is logged and counted, and is no error of the function."""
        invocation = invocation_of(context)
        self.logger.append_keys(invocation=invocation)
        report = self.canary.run(max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS))
        answer: dict[str, Any] = msgspec.to_builtins(report)
        if report.failure:
            self.logger.warning("A canary event can't be read", extra=answer)
        else:
            self.logger.info("a canary event was read", extra=answer)
        canary_metrics.count(report, invocation)
        return answer
