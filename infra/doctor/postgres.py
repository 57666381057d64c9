"""Checks PostgreSQL: login, TLS, version, revision of the migrations, partitions, and room for connections."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import psycopg
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict

from functions.shared.database_url import is_this_machine
from functions.shared.partitions import partition_name, partitions, wanted_months
from functions.shared.postgres import Connection, TimeLimits, connect, reason_of
from infra.doctor.finding import Finding, Page, failed, listed, ok, warning
from infra.doctor.roles import check_role
from infra.doctor.system import System
from infra.migrations.schema import FOLDER

MIN_VERSION = 17

_LIMITS = TimeLimits(statement=10, transaction=20)

_MIGRATE = "Deploy this release, or run `usage-events migrate`."

_HAS = "SELECT to_regclass(%s) IS NOT NULL"

_REVISION = "SELECT version_num FROM alembic_version"

_OPEN_STEPS = "SELECT count(*) FROM migration_steps WHERE done_at IS NULL"

_ROOM = """
    SELECT
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - current_setting('reserved_connections')::int,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        (SELECT coalesce(sum(rolconnlimit), 0) FROM pg_roles WHERE rolname = ANY(%s) AND rolconnlimit > 0)
"""


def check_postgres(system: System) -> Iterator[Finding]:
    """Logs in as each role and checks what the role finds; the owner's connection checks the server."""
    logins = {"owner": system.owner, "writer": system.writer, "reader": system.reader}
    roles = [str(conninfo_to_dict(url)["user"]) for url in (system.writer, system.reader) if url is not None]
    for kind, url in logins.items():
        if url is not None:
            of_server = partial(_check_server, roles=roles) if kind == "owner" else _check_nothing
            yield from _check_login(kind, url, of_server, has_roles=bool(roles))


def check_before_migrations(owner: str, *, has_roles: bool) -> Iterator[Finding]:
    """Logs in as the owner and checks what the migrations need, whatever the database holds so far.

    Args:
        has_roles: whether the migrations make roles.
    """
    yield from _check_login("owner", owner, _check_version, has_roles=has_roles)


def _check_login(
    kind: str, url: str, of_server: Callable[[Connection], Iterator[Finding]], *, has_roles: bool
) -> Iterator[Finding]:
    check = f"PostgreSQL, {kind}"
    try:
        with closing(connect(url, _LIMITS)) as connection:
            yield ok(f"{check}: login", f"as {connection.info.user}")
            yield _check_tls(f"{check}: TLS", connection)
            yield from of_server(connection)
            yield from check_role(connection, kind, has_roles=has_roles)
    except psycopg.Error as error:
        yield _not_connected(check, error)


def _check_nothing(_: Connection) -> Iterator[Finding]:
    return iter(())


def _not_connected(check: str, error: psycopg.Error) -> Finding:
    reason = reason_of(error)
    if error.sqlstate is None and ("certificate" in reason or "SSL" in reason):
        remedy = "Name the authority in DATABASE_CA, or choose another DATABASE_SSLMODE."
        return failed(f"{check}: TLS", reason, remedy, Page.TLS)
    if error.sqlstate is None:
        remedy = "Correct user, password and database in the secret; a deployment makes the writer and the reader."
        return failed(f"{check}: login", reason, remedy, Page.SECRETS)
    return failed(
        f"{check}: checks", reason, "See the reason; the other checks of this role were not made.", Page.NEEDS
    )


def _check_tls(check: str, connection: Connection) -> Finding:
    mode = connection.info.get_parameters().get("sslmode", "prefer")
    if connection.pgconn.ssl_in_use:
        if mode == "verify-full":
            return ok(check, "encrypted, and the server's certificate is verified")
        remedy = "Leave out DATABASE_SSLMODE, so that it is verify-full, and name the authority in DATABASE_CA."
        return warning(check, f"encrypted, but with sslmode {mode} another server could answer", remedy, Page.TLS)
    if all(map(is_this_machine, filter(None, (connection.info.host, connection.info.hostaddr)))):
        return ok(check, "not encrypted; the server is on this machine")
    return warning(check, "not encrypted", "Set DATABASE_SSLMODE to verify-full.", Page.TLS)


def _check_server(connection: Connection, roles: list[str]) -> Iterator[Finding]:
    yield from _check_version(connection)
    yield from check_migrations(connection)
    yield _check_room(connection, roles)


def _check_version(connection: Connection) -> Iterator[Finding]:
    check, version = "PostgreSQL: version", connection.info.server_version // 10_000
    if version < MIN_VERSION:
        yield failed(check, f"{version}", f"Upgrade the server to {MIN_VERSION} or later.", Page.NEEDS)
    else:
        yield ok(check, f"{version}")


def check_migrations(connection: Connection) -> Iterator[Finding]:
    """Compares the revision of the schema with the migrations of this release."""
    check = "PostgreSQL: migrations"
    if not _has(connection, "alembic_version"):
        yield failed(check, "the database has no tables yet", _MIGRATE, Page.RELEASE)
        return
    row = connection.execute(_REVISION).fetchone()
    applied = str(row[0]) if row else None
    known = [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()][::-1]
    if applied in known[:-1] or applied is None:
        yield failed(check, f"at revision {applied}; this release has {known[-1]}", _MIGRATE, Page.RELEASE)
    elif applied not in known:
        remedy = "Nothing, after a rollback. Otherwise check out the release that is deployed."
        yield warning(check, f"revision {applied} is of a newer release than this one", remedy, Page.RELEASE)
    elif steps := _count(connection, _OPEN_STEPS):
        yield failed(check, f"steps of the migrations that are not finished: {steps}", _MIGRATE, Page.RELEASE)
    else:
        yield ok(check, f"at revision {applied}, the newest of this release")
    yield _check_partitions(connection)


def _check_partitions(connection: Connection) -> Finding:
    check, present = "PostgreSQL: partitions", set(partitions(connection))
    soon = [partition_name(month) for month in wanted_months(datetime.now(UTC).date(), 0)[:2]]
    if missing := [name for name in soon if name not in present]:
        remedy = "Run `usage-events retention`, and look why the retention function did not make them."
        return failed(check, f"missing: {listed(missing)}", remedy, Page.RELEASE)
    return ok(check, f"there are those of this month and the next; {len(present)} in all")


def _check_room(connection: Connection, roles: list[str]) -> Finding:
    check = "PostgreSQL: connections"
    row = connection.execute(_ROOM, [roles]).fetchone()
    room, used, limits = map(int, row or (0, 0, 0))
    if limits >= room:
        remedy = "Lower DATABASE_WRITER_CONNECTIONS and DATABASE_READER_CONNECTIONS, or raise max_connections."
        return failed(check, f"the roles may have {limits} together, the server {room} in all", remedy, Page.ROLES)
    if used > 0.8 * room:
        remedy = "Raise max_connections, lower the limits of the roles, or use RDS Proxy."
        return warning(check, f"{used} of {room} are in use", remedy, Page.ROLES)
    return ok(check, f"{used} of {room} are in use")


def _has(connection: Connection, table: str) -> bool:
    return connection.execute(_HAS, [table]).fetchone() == (True,)


def _count(connection: Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0
