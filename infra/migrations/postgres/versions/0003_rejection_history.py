"""What an event was rejected for before it was replayed and rejected again."""

from alembic import op

revision = "0003"
down_revision = "0002"

REJECTION_HISTORY = """
    CREATE TABLE rejection_history (
        rejected_id uuid NOT NULL REFERENCES rejected_events (id) ON DELETE CASCADE,
        attempt     int NOT NULL,
        code        text NOT NULL,
        message     text NOT NULL,
        replayed_at timestamptz,
        PRIMARY KEY (rejected_id, attempt)
    );
"""


def upgrade() -> None:
    """Makes the table; `rejected_events` has the latest attempt of each event, this the earlier ones."""
    op.execute(REJECTION_HISTORY)
