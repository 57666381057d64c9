"""Finds the system for the commands: in the environment, or as this checkout's local stack."""

import json
import os

from infra import stack_file

_VARIABLES = {
    "DATABASE_URL": "database_url",
    "CLICKHOUSE_URL": "clickhouse_url",
    "QUEUE_URL": "queue_url",
    "AWS_ENDPOINT_URL": "aws_endpoint_url",
    "AUTH_REVOCATIONS_ARN": "auth_revocations_arn",
    "DATABASE_WRITER_SECRET_ARN": "database_writer_secret_arn",
    "DATABASE_READER_SECRET_ARN": "database_reader_secret_arn",
}


def names_database() -> bool:
    """Whether the settings name a database."""
    return bool(os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_SECRET_ARN"))


def names_system() -> bool:
    """Whether the settings name a database, or a local stack runs in this checkout."""
    return names_database() or stack_file.find() is not None


def use_local_stack() -> None:
    """Points unset settings to the running local stack, unless the environment names a database."""
    file = stack_file.find()
    if file is None or names_database():
        return
    stack = json.loads(file.read_text())
    os.environ.pop("DATABASE_URL", None)
    known = {name: stack[key] for name, key in _VARIABLES.items() if key in stack}
    os.environ.update({name: value for name, value in known.items() if name not in os.environ})
    os.environ.update(stack_file.ACCOUNT)
