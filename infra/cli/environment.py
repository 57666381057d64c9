"""Where the commands find the system: the environment says, or the local stack that runs in this checkout."""

import json
import os
from pathlib import Path

from infra.local import aws

_VARIABLES = {
    "DATABASE_URL": "database_url",
    "CLICKHOUSE_URL": "clickhouse_url",
    "QUEUE_URL": "queue_url",
    "AWS_ENDPOINT_URL": "aws_endpoint_url",
    "AUTH_REVOCATIONS_ARN": "auth_revocations_arn",
}


def stack_file() -> Path | None:
    """What the local stack wrote down, in this folder or one above; None where none is running."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / ".local" / "stack.json"
        if file.exists():
            return file
    return None


def use_local_stack() -> None:
    """Sets the settings that are not set to the local stack's, where one runs and the environment names no database."""
    file = stack_file()
    if file is None or os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_SECRET_ARN"):
        return
    stack = json.loads(file.read_text())
    os.environ.pop("DATABASE_URL", None)
    known = {name: stack[key] for name, key in _VARIABLES.items() if key in stack}
    os.environ.update({name: value for name, value in known.items() if name not in os.environ})
    os.environ.update(aws.ACCOUNT)
