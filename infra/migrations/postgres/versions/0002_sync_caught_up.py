"""When the sync had caught up, from which time on readers may turn to ClickHouse."""

from alembic import op

revision = "0002"
down_revision = "0001"

CAUGHT_UP = "ALTER TABLE sync_state ADD COLUMN caught_up_at timestamptz"


def upgrade() -> None:
    """Adds the column; null means that the first backfill has not caught up."""
    op.execute(CAUGHT_UP)
