"""Identifies the directory, whose copy ClickHouse keeps, and records how far a database was refilled from it."""

from alembic import op

revision = "0016"
down_revision = "0015"

# A database that is restored from a dump has the id of the former one, and one that is refilled takes it over. A
# database with another id must not replace the copy.
DIRECTORY_ORIGIN = """
    CREATE TABLE directory_origin (id uuid PRIMARY KEY);
    INSERT INTO directory_origin VALUES (gen_random_uuid());
"""

# `target` is the table in ClickHouse that the events come from. Rows of earlier epochs belong to the lost database.
# Refilled rows have the transaction numbers 1 to `last_xact`: how many of the thresholds are not above the number that
# the row had. The thresholds are numbers of the lost database on which moves depend.
REFILLS = """
    CREATE TABLE refills (
        epoch       int PRIMARY KEY,
        target      text NOT NULL,
        thresholds  bigint[] NOT NULL,
        last_xact   bigint NOT NULL,
        complete_to timestamptz,
        begun_at    timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz
    );
"""

# Events before `filled_to` are in PostgreSQL.
MONTHS = """
    CREATE TABLE refilled_months (
        epoch     int NOT NULL REFERENCES refills (epoch) ON DELETE CASCADE,
        month     date NOT NULL,
        filled_to timestamptz NOT NULL,
        events    bigint NOT NULL,
        PRIMARY KEY (epoch, month)
    );
"""


def upgrade() -> None:
    """Creates the tables."""
    for statements in (DIRECTORY_ORIGIN, REFILLS, MONTHS):
        op.execute(statements)
