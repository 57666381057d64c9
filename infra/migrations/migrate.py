"""Migrates a PostgreSQL database: applies the schema's migrations, makes partitions, records the definitions."""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from functions.shared import locks
from functions.shared.catalog.registry import Registry
from functions.shared.partitions import make_partitions, wanted_months
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.migrations.change import find, require_accepted
from infra.migrations.changes import changes
from infra.migrations.deployed import read_deployed
from infra.migrations.fill_projects import fill_projects
from infra.migrations.record import record

DEFAULT_SECONDS = 600


def migrate(
    database_url: str,
    registry: Registry,
    retention_months: int,
    seconds: int = DEFAULT_SECONDS,
    accepted: Collection[str] = (),
) -> list[str]:
    """Applies the migrations, makes the partitions and records the definitions.

    Args:
        seconds: time limit of each statement and transaction.
        accepted: names of changes that are deployed although stored rows are no longer readable as before.

    Returns:
        One line per change.

    Raises:
        DefinitionError: stored rows would no longer be readable as before.
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    limits = TimeLimits(statement=seconds, transaction=seconds)
    with connect(database_url, limits) as connection, connect(database_url, limits) as schema_connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [locks.DEPLOYMENT])
        lines = upgrade_schema(schema_connection)
        partitions = make_partitions(connection, wanted_months(datetime.now(UTC).date(), retention_months))
        lines += [f"made partition {name}" for name in partitions]
        with connection.transaction():
            lines += _record_definitions(connection, registry, accepted)
        if filled := fill_projects(connection):
            lines.append(f"filled the project of {filled:,} events")
    return lines


def upgrade_schema(own_connection: Connection) -> list[str]:
    """Applies the missing migrations in one transaction, which also closes the connection.

    A newer release may have migrated the database further. Its schema stays, so that an older release can be deployed
    again.

    Returns:
        A line if the schema is that of a newer release.
    """
    own_connection.set_autocommit(False)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("postgres")))
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: own_connection, poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        applied = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if applied is not None and applied not in known:
            return [f"left the schema as a newer release made it: this release does not know the migration {applied}"]
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return []


def _record_definitions(connection: Connection, registry: Registry, accepted: Collection[str]) -> list[str]:
    deployed = read_deployed(connection)
    findings = find(connection, changes(deployed, registry))
    require_accepted(findings, accepted)
    release = record(connection, deployed, registry, findings)
    kept = [
        f"left alone, because release {finding.change.newer_release} is newer: {finding.change.what}"
        for finding in findings
        if finding.change.newer_release is not None
    ]
    hidden = [f"accepted: {finding.problem()}" for finding in findings if finding.is_refused]
    return [*kept, *hidden, f"recorded {len(registry.events)} event types of release {release}"]
