"""Real PostgreSQL servers for the benchmarks."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from functions.shared.catalog import registry
from infra.local import postgres
from infra.migrations.migrate import migrate

RETENTION_MONTHS = 3

# As an operator would set a server up that takes in so much: the defaults are those of a small machine.
SETTINGS = ("ALTER SYSTEM SET max_wal_size = '4GB'", "SELECT pg_reload_conf()")


@contextmanager
def postgres_server(folder: Path, *, anew: bool = True) -> Iterator[str]:
    """Runs a server, empty or on the folder's data; yields its URL without a database name."""
    postgres.stop(folder / "postgres")  # what a killed run left
    if anew:
        shutil.rmtree(folder / "postgres", ignore_errors=True)
    url = postgres.start(folder / "postgres", folder / "postgres.log", "postgres")
    try:
        if anew:
            with psycopg.connect(url, autocommit=True) as connection:
                for setting in SETTINGS:
                    connection.execute(setting)
        yield url.rpartition("/")[0]
    finally:
        postgres.stop(folder / "postgres")


def database(server: str, name: str) -> str:
    """The URL of a new, migrated database."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{server}/{name}"
    migrate(url, registry.load(), RETENTION_MONTHS)
    return url
