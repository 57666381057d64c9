"""Answers CloudFormation's requests, with nothing but the standard library."""

import json
import platform
import urllib.request
from collections.abc import Callable
from typing import Any

_TIMEOUT_SECONDS = 10
_MAX_REASON_CHARACTERS = 500


def put_answer(url: str, answer: dict[str, Any]) -> None:
    """Uploads the answer to CloudFormation's signed URL, which allows no content type."""
    request = urllib.request.Request(url, json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310 - CloudFormation's own URL


def refusing(error: ImportError) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """Returns a handler for a package that can't be imported, which says so to CloudFormation.

    A function that fails to start would keep CloudFormation waiting for an hour. The usual reason is a package for
    other processors, whose libraries can't be loaded here.
    """
    reason = (
        f"The package of the function can't be imported: {error}. The function runs on {platform.machine()}: was "
        "Architecture given to `sam build` as well as to `sam deploy`?"
    )[:_MAX_REASON_CHARACTERS]

    def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
        answer = {
            "Status": "SUCCESS" if event["RequestType"] == "Delete" else "FAILED",
            "Reason": reason,
            "PhysicalResourceId": event.get("PhysicalResourceId", "migrations"),
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        }
        put_answer(event["ResponseURL"], answer)
        return answer

    return handler
