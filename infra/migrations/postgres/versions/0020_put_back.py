"""Records what a refill of a PostgreSQL needs that was put back to an earlier moment."""

from alembic import op

revision = "0020"
down_revision = "0019"

# The origin of the directory that ClickHouse keeps, from a PostgreSQL that was put back and has an origin of its own
# now. A refill gives it back.
PUT_BACK_FROM = "CREATE TABLE put_back_from (origin uuid PRIMARY KEY)"

# Refilled rows have transaction numbers after this one; 0 in a database that was new.
BASE = "ALTER TABLE refills ADD COLUMN base_xact bigint NOT NULL DEFAULT 0"


def upgrade() -> None:
    """Creates the table and the column."""
    for statement in (PUT_BACK_FROM, BASE):
        op.execute(statement)
