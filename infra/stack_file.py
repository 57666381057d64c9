"""The file `stack.json`, in which the running local stack tells its addresses and secrets to commands and tests."""

from pathlib import Path

import msgspec

REGION = "us-east-1"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}
"""Environment of clients of the stack's AWS endpoint."""


class Stack(msgspec.Struct, frozen=True):
    """Addresses and secrets of the running stack.

    Attributes:
        database_writer_secret_arn: secret with the login of the database's writer, like that of its reader.
    """

    api_url: str
    queue_url: str
    dlq_url: str
    aws_endpoint_url: str
    database_url: str
    clickhouse_url: str
    token: str
    auth_secret: str
    auth_revocations_arn: str
    database_writer_secret_arn: str = ""
    database_reader_secret_arn: str = ""


def find() -> Path | None:
    """Returns the file of the local stack, from this folder or one above; None without a stack."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / ".local" / "stack.json"
        if file.exists():
            return file
    return None
