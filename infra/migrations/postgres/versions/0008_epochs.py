"""Numbers the epochs of each sync target, and finds all removed keys of one event."""

from alembic import op

revision = "0008"
down_revision = "0007"

# The number before the transaction in the version of a copied row. A new epoch begins when everything is copied again,
# so that rows of a PostgreSQL whose transaction numbers start lower replace what was copied before.
EPOCH = "ALTER TABLE sync_state ADD COLUMN epoch int NOT NULL DEFAULT 1"

REMOVED_KEYS_ID = "CREATE INDEX removed_keys_id ON removed_keys (id, xact_id)"


def upgrade() -> None:
    """Adds the column and the index."""
    for statement in (EPOCH, REMOVED_KEYS_ID):
        op.execute(statement)
