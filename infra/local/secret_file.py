"""Keeps generated secrets in files that only their owner can read."""

import os
import secrets
from pathlib import Path

_BYTES = 48


def read_or_create(file: Path) -> str:
    """Returns the secret in the file, generated if missing; it needs no escaping in URLs and SQL."""
    if not file.exists():
        scratch = file.with_name(f"{file.name}.new")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_urlsafe(_BYTES))
        scratch.replace(file)
    return file.read_text()
