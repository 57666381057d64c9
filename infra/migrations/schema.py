"""Applies PostgreSQL's numbered migrations: each in a transaction of its own, and then its long steps."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from functions.shared.postgres import Connection
from infra.migrations.budget import LOCK_SECONDS, TimeBudget
from infra.migrations.steps import Step

FOLDER = Path(__file__).with_name("postgres")

_LIMITS = "SET LOCAL lock_timeout = '{lock}s'; SET LOCAL statement_timeout = '{statement}s'"

_STEPS_ARE_RECORDED = "SELECT to_regclass('migration_steps') IS NOT NULL"

_PLAN_STEP = "INSERT INTO migration_steps (revision, number, name) VALUES (:revision, :number, :name)"

_OPEN_STEPS = "SELECT revision, number FROM migration_steps WHERE done_at IS NULL ORDER BY revision, number"

_STEP_IS_DONE = "UPDATE migration_steps SET done_at = now() WHERE revision = %s AND number = %s"


class Schema:
    """The schema of a database, and the migrations that this release knows.

    A newer release may have migrated the database further. Its schema and its unfinished steps are left alone, so that
    an older release can be deployed again.

    Args:
        own: a connection that nobody else uses; Alembic leaves autocommit mode on it.
        folder: the folder of the migrations.
    """

    def __init__(self, own: Connection, folder: Path = FOLDER) -> None:
        own.set_autocommit(False)
        self._engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: own, poolclass=sqlalchemy.StaticPool
        )
        self._config = Config()
        self._config.set_main_option("script_location", str(folder))
        self._config.set_main_option("path_separator", "os")
        revisions = list(ScriptDirectory.from_config(self._config).walk_revisions())
        self._scripts: Sequence[Script] = revisions[::-1]

    def upgrade(self, connection: Connection, budget: TimeBudget) -> Iterator[str]:
        """Applies what is missing, and yields a line for each thing that is done or left alone.

        Args:
            connection: for the steps; in autocommit mode, with a `lock_timeout`.

        Raises:
            Unfinished: the time ended before. The next call goes on.
        """
        known = {script.revision: script for script in self._scripts}
        applied = self._applied()
        yield from self._take_steps(known, connection, budget)
        if applied is not None and applied not in known:
            yield f"left the schema as a newer release made it: this release does not know the migration {applied}"
            return
        for script in self._scripts[list(known).index(applied) + 1 if applied else 0 :]:
            budget.retried(partial(self._apply, script, budget))
            yield f"applied migration {script.revision}: {script.doc}"
            yield from self._take_steps(known, connection, budget)

    def _applied(self) -> str | None:
        with self._engine.begin() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def _apply(self, script: Script, budget: TimeBudget) -> None:
        """Applies one migration, and plans its steps in the same transaction."""
        with self._engine.begin() as connection:
            limits = _LIMITS.format(lock=LOCK_SECONDS, statement=max(1, int(budget.seconds)))
            connection.execute(sqlalchemy.text(limits))
            self._config.attributes["connection"] = connection
            command.upgrade(self._config, script.revision)
            for number, step in enumerate(steps_of(script)):
                values = {"revision": script.revision, "number": number, "name": step.name}
                connection.execute(sqlalchemy.text(_PLAN_STEP), values)

    @staticmethod
    def _take_steps(known: dict[str, Script], connection: Connection, budget: TimeBudget) -> Iterator[str]:
        """Runs the steps that are not done, of migrations that this release knows."""
        if connection.execute(_STEPS_ARE_RECORDED).fetchone() != (True,):
            return
        for revision, number in connection.execute(_OPEN_STEPS).fetchall():
            if revision not in known:
                yield f"left a step as a newer release left it: step {number} of migration {revision}"
                continue
            step = steps_of(known[revision])[number]
            step.run(connection, budget)
            connection.execute(_STEP_IS_DONE, [revision, number])
            yield f"finished migration {revision}: {step.name}"


def steps_of(script: Script) -> Sequence[Step]:
    """Returns the steps that a migration lists."""
    steps: Sequence[Step] = getattr(script.module, "STEPS", ())
    return steps
