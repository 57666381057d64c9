"""Records when the sync had caught up; from then on, readers may use ClickHouse."""

from alembic import op

revision = "0002"
down_revision = "0001"

CAUGHT_UP = "ALTER TABLE sync_state ADD COLUMN caught_up_at timestamptz"


def upgrade() -> None:
    """Adds the column; null means that the first backfill is not complete."""
    op.execute(CAUGHT_UP)
