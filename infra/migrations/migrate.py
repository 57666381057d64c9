"""Migrates a database to this version of the project."""

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from functions.shared import locks
from functions.shared.catalog.feature import DefinitionError
from functions.shared.catalog.registry import Registry
from functions.shared.partitions import make_partitions, wanted_months
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.migrations.fill_projects import fill_projects

DEFAULT_SECONDS = 600

_EVENT_TYPES = "SELECT id, name FROM event_types ORDER BY id"

_IS_STORED = "SELECT EXISTS (SELECT FROM ai_usage_events WHERE event = %s)"

_FORGET_EVENT_TYPES = "TRUNCATE event_types"

_INSERT_EVENT_TYPE = """
    INSERT INTO event_types (id, name, feature, deprecated)
    VALUES (%(id)s, %(name)s, %(feature)s, %(deprecated)s)
"""


def migrate(database_url: str, registry: Registry, retention_months: int, seconds: int = DEFAULT_SECONDS) -> list[str]:
    """Applies the migrations, makes the partitions and records the definitions.

    Args:
        seconds: time limit of each statement and transaction.

    Returns:
        One line per change.

    Raises:
        DefinitionError: a stored event is no longer defined, or its id has another name.
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    limits = TimeLimits(statement=seconds, transaction=seconds)
    with connect(database_url, limits) as connection, connect(database_url, limits) as schema_connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [locks.DEPLOYMENT])
        upgrade_schema(schema_connection)
        partitions = make_partitions(connection, wanted_months(datetime.now(UTC).date(), retention_months))
        with connection.transaction():
            _record_definitions(connection, registry)
        filled = fill_projects(connection)
    return [
        *(f"made partition {name}" for name in partitions),
        f"recorded {len(registry.events)} event types",
        *([f"filled the project of {filled:,} events"] if filled else []),
    ]


def upgrade_schema(own_connection: Connection) -> None:
    """Applies the missing migrations in one transaction, which also closes the connection."""
    own_connection.set_autocommit(False)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("postgres")))
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: own_connection, poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _record_definitions(connection: Connection, registry: Registry) -> None:
    problems = [
        problem
        for event_id, name in connection.execute(_EVENT_TYPES).fetchall()
        if (problem := _contradiction(registry, event_id, name)) and _is_stored(connection, event_id)
    ]
    if problems:
        raise DefinitionError("\n".join(problems))
    connection.execute(_FORGET_EVENT_TYPES)
    rows = [
        {"id": event.id, "name": event.name, "feature": event.feature.name, "deprecated": event.deprecated}
        for event in registry.events.values()
    ]
    connection.cursor().executemany(_INSERT_EVENT_TYPE, rows)


def _is_stored(connection: Connection, event_id: int) -> bool:
    row = connection.execute(_IS_STORED, [event_id]).fetchone()
    return row is not None and row[0] is True


def _contradiction(registry: Registry, event_id: int, name: str) -> str | None:
    event = registry.by_id.get(event_id)
    if event is None:
        return f"{name} ({event_id}) is stored but no longer defined: keep it with deprecated_events({name}={event_id})"
    if event.name != name:
        return f"events are stored as {name} ({event_id}), but {event.feature.file} names this id {event.name}"
    return None
