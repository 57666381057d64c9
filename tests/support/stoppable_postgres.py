"""A PostgreSQL server of its own, which tests may stop and start again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from functions.shared.catalog import registry
from infra.local import postgres
from infra.migrations.migrate import migrate


def start(data: Path) -> str:
    """Starts the server, if it does not run, and returns its URL."""
    return postgres.start(data, data.parent / "postgres.log", "events")


@contextmanager
def stoppable_postgres(data: Path, retention_months: int, *settings: str) -> Iterator[None]:
    """Runs a server with all tables while the block runs.

    Args:
        data: the server's data folder.
        settings: settings like `max_connections = 8`, which count from the next start on.
    """
    try:
        with psycopg.connect(start(data), autocommit=True) as administration:
            for setting in ("fsync = off", *settings):
                administration.execute(f"ALTER SYSTEM SET {setting}".encode())
        migrate(start(data), registry.load(), retention_months)
        yield
    finally:
        postgres.stop(data)
