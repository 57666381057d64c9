"""Migrates a PostgreSQL database: applies the schema's migrations, makes partitions, records the definitions."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from functions.shared import locks
from functions.shared.catalog.registry import Registry
from functions.shared.partitions import make_partitions, wanted_months
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.migrations.budget import LOCK_SECONDS, TimeBudget
from infra.migrations.change import find, require_accepted
from infra.migrations.changes import changes
from infra.migrations.deployed import read_deployed
from infra.migrations.fill_projects import fill_projects
from infra.migrations.record import record
from infra.migrations.roles import Role, make_role
from infra.migrations.schema import Schema

DEFAULT_SECONDS = 600


def migrate(
    database_url: str,
    registry: Registry,
    retention_months: int,
    seconds: float = DEFAULT_SECONDS,
    accepted: Collection[str] = (),
    roles: Sequence[Role] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Applies the migrations, makes the partitions and records the definitions.

    Args:
        seconds: time for all of it; also limits each statement and transaction.
        accepted: names of changes that are deployed although stored rows are no longer readable as before.
        roles: roles of functions to make.
        progress: called with each line at once.

    Returns:
        One line per change.

    Raises:
        DefinitionError: stored rows would no longer be readable as before.
        Unfinished: the time ended before. The next call goes on.
        psycopg.OperationalError: PostgreSQL can't be reached.
    """
    budget = TimeBudget(seconds)
    limit = max(1, int(seconds))
    limits = TimeLimits(statement=limit, transaction=limit)
    lines = []
    with (
        connect(database_url, limits, f"-c lock_timeout={LOCK_SECONDS}s") as connection,
        connect(database_url, limits) as schema_connection,
    ):
        budget.retried(lambda: connection.execute("SELECT pg_advisory_lock(%s)", [locks.DEPLOYMENT]))
        schema = Schema(schema_connection)
        for line in _changes(connection, schema, registry, retention_months, accepted, roles, budget):
            progress(line)
            lines.append(line)
    return lines


def _changes(
    connection: Connection,
    schema: Schema,
    registry: Registry,
    retention_months: int,
    accepted: Collection[str],
    roles: Sequence[Role],
    budget: TimeBudget,
) -> Iterator[str]:
    """Makes the changes one after another, and yields a line for each."""
    yield from schema.upgrade(connection, budget)
    months = wanted_months(datetime.now(UTC).date(), retention_months)
    for name in budget.retried(lambda: make_partitions(connection, months)):
        yield f"made partition {name}"

    def recorded() -> list[str]:
        with connection.transaction():
            return _record_definitions(connection, registry, accepted)

    yield from budget.retried(recorded)

    def made(role: Role) -> list[str]:
        return list(make_role(connection, role))

    for role in roles:
        yield from budget.retried(partial(made, role))
    if filled := fill_projects(connection, budget):
        yield f"filled the project of {filled:,} events"


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
