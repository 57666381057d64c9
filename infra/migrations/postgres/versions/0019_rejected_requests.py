"""Adds the id of the request to rejected events."""

from alembic import op

revision = "0019"
down_revision = "0018"

# Null for events that were rejected before, and for rows that ClickHouse refused.
REQUEST_ID = "ALTER TABLE rejected_events ADD COLUMN request_id text"


def upgrade() -> None:
    """Adds the column."""
    op.execute(REQUEST_ID)
