"""Adds the event id of rejected events, and the table of ids that transactions are claiming."""

from alembic import op

revision = "0005"
down_revision = "0004"

# Operators look up a rejected event by the id in the sender's answer.
EVENT_ID = """
    ALTER TABLE rejected_events ADD COLUMN event_id uuid;

    CREATE INDEX rejected_events_event_id ON rejected_events (event_id) WHERE event_id IS NOT NULL;
"""

# No row outlives its transaction, so the table needs no write-ahead log. Each row leaves a dead row, so the table is
# vacuumed often.
CLAIMED_IDS = """
    CREATE UNLOGGED TABLE claimed_ids (
        id uuid PRIMARY KEY
    ) WITH (
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_threshold = -1,
        autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 2147483647,
        autovacuum_vacuum_cost_delay = 0
    );
"""


def upgrade() -> None:
    """Adds the column and the table. Existing rows have no event id; an id in their body counts as the sender's."""
    op.execute(EVENT_ID)
    op.execute(CLAIMED_IDS)
