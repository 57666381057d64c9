"""Under which id a rejected event is to be stored, and the ids that transactions hold while they look them up."""

from alembic import op

revision = "0005"
down_revision = "0004"

# An operator knows the id of the answer.
EVENT_ID = """
    ALTER TABLE rejected_events ADD COLUMN event_id uuid;

    CREATE INDEX rejected_events_event_id ON rejected_events (event_id) WHERE event_id IS NOT NULL;
"""

# No row outlives its transaction, so that the table needs no log. Each leaves a dead one, so it is vacuumed often.
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
    """Adds the column and the table. A row of before has no event id: an id in its body counts as the sender's then."""
    op.execute(EVENT_ID)
    op.execute(CLAIMED_IDS)
