"""Checks ClickHouse: login, TLS, version, and the rights of the user that the sync and the retention have."""

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared import clickhouse, settings
from functions.shared.postgres import TimeLimits, connect
from functions.sync.kept_directory import has_copy, is_of_another
from infra.doctor.finding import Finding, Page, failed, listed, ok, warning
from infra.doctor.system import System

MIN_VERSION = (25, 8)
NEEDED = ("SELECT", "INSERT", "ALTER TABLE", "CREATE TABLE", "DROP TABLE", "CREATE VIEW", "DROP VIEW")
NEEDED_ON_CLUSTER = ("CLUSTER", "SYSTEM SYNC REPLICA")
TOO_MUCH = ("ACCESS MANAGEMENT", "SYSTEM SHUTDOWN", "FILE", "URL")

_SECONDS = 10
_LIMITS = TimeLimits(statement=_SECONDS, transaction=_SECONDS)
_EVERYWHERE = frozenset({"CLUSTER", *TOO_MUCH})  # rights that are not of a database
_LOCAL = ("127.0.0.1", "::1", "localhost")


def check_clickhouse(system: System) -> Iterator[Finding]:
    """Logs in and checks; yields nothing if ClickHouse is off."""
    if system.clickhouse is None:
        return
    try:
        with closing(clickhouse.connect(system.clickhouse, _SECONDS)) as client:
            yield ok("ClickHouse: login", "as the user of the settings")
            yield _check_tls(system.clickhouse)
            yield _check_version(str(client.server_version))
            yield from _check_rights(client)
            yield from _check_copy(client, system.owner)
    except ClickHouseError as error:
        remedy = "Start the server, or correct user, password, database and port in the settings or the secret."
        yield failed("ClickHouse: login", clickhouse.reason_of(error), remedy, Page.CLICKHOUSE)


def _check_tls(url: str) -> Finding:
    check, parts = "ClickHouse: TLS", urlsplit(url)
    if parts.scheme in ("clickhouses", "https"):
        if "verify=false" in parts.query.lower():
            return warning(check, "the certificate is not verified", "Remove verify=false.", Page.CLICKHOUSE)
        return ok(check, "encrypted, and the server's certificate is verified")
    if parts.hostname in _LOCAL:
        return ok(check, "not encrypted; the server is on this machine")
    return warning(check, "not encrypted", "Begin the URL with clickhouses://.", Page.CLICKHOUSE)


def _check_version(text: str) -> Finding:
    check, version = "ClickHouse: version", tuple(map(int, text.split(".")[:2]))
    if version < MIN_VERSION:
        oldest = ".".join(map(str, MIN_VERSION))
        return failed(check, text, f"Upgrade the server to {oldest} or later.", Page.NEEDS)
    return ok(check, text)


def _check_rights(client: Client) -> Iterator[Finding]:
    check = "ClickHouse: privileges"
    needed = NEEDED + (NEEDED_ON_CLUSTER if settings.clickhouse_cluster() else ())
    lacking = [right for right in needed if not _has(client, right)]
    excess = [right for right in TOO_MUCH if _has(client, right)]
    if lacking:
        remedy = "GRANT them on the database to the user."
        yield failed(check, f"lacks {listed(lacking)}", remedy, Page.CLICKHOUSE)
    if excess:
        remedy = "Make a user with the rights on the database alone."
        yield warning(check, f"may more than it needs: {listed(excess)}", remedy, Page.CLICKHOUSE)
    if not lacking and not excess:
        yield ok(check, "all that is needed, and no more")


def _check_copy(client: Client, owner: str | None) -> Iterator[Finding]:
    """Checks the copy of the directory, without which a lost PostgreSQL does not come back."""
    check = "ClickHouse: copy of the directory"
    if owner is None:
        return
    try:
        with closing(connect(owner, _LIMITS)) as connection:
            is_foreign = is_of_another(connection, client)
    except psycopg.Error:
        return  # the checks of PostgreSQL say why
    if is_foreign:
        remedy = "Run `usage-events refill`, or drop the table ai_usage_directory if that PostgreSQL no longer counts."
        yield failed(check, "it is that of another PostgreSQL", remedy, Page.RESTORE)
    elif not has_copy(client):
        remedy = "Wait for the first run of the sync, or run `usage-events sync`."
        yield warning(check, "there is none yet", remedy, Page.RESTORE)
    else:
        yield ok(check, "the sync keeps one")


def _has(client: Client, right: str) -> bool:
    where = "*" if right in _EVERYWHERE else quote_identifier(str(client.database))
    return str(client.command(f"CHECK GRANT {right} ON {where}.*")) == "1"
