"""A database whose owner, writer and reader are roles of their own."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from functions.shared.catalog import registry
from infra.migrations.migrate import migrate
from infra.migrations.roles import reader, writer

SECONDS = 60

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Roles:
    """An empty database whose owner is no superuser, but may make roles, as the master user of RDS.

    Attributes:
        owner: URL of the database for its owner.
        writer: URL for the writer, which the migrations make.
        reader: URL for the reader, which the migrations make.
    """

    owner: str
    writer: str
    reader: str

    def migrate(self, writers: int = -1, readers: int = -1) -> list[str]:
        """Deploys to the database."""
        roles = writer(self.writer, writers), reader(self.reader, readers)
        return migrate(self.owner, registry.load(), 3, SECONDS, (), roles)


@contextmanager
def database_roles(postgres_server: str) -> Iterator[Roles]:
    """Yields an empty database of a new owner, and drops it and its roles afterwards."""
    server, _, _ = postgres_server.rpartition("/")
    name = f"roles_{next(_numbers)}"
    users = [f"{name}_{kind}" for kind in ("owner", "writer", "reader")]
    owner, *others = map(sql.Identifier, users)
    host = server.rpartition("@")[2]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administration:
        administration.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'secret'").format(owner))
        administration.execute(sql.SQL("GRANT pg_read_all_stats TO {} WITH ADMIN OPTION").format(owner))
        administration.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), owner))
        urls = [f"postgresql://{user}:secret@{host}/{name}" for user in users]
        with psycopg.connect(f"{server}/{name}", autocommit=True) as own:
            own.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner))
        yield Roles(*urls)
        administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in (*others, owner):
            administration.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
