"""Records the runs that transform stored events again."""

from alembic import op

revision = "0017"
down_revision = "0016"

# A run reads events from `end_at` backwards, and has read those at and after (`read_to_timestamp`, `read_to_id`). A run
# that is asked for with an equal `request` goes on where an unfinished one stopped.
REPROCESSINGS = """
    CREATE TABLE reprocessings (
        number            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind              text COLLATE "C" NOT NULL CHECK (kind IN ('apply', 'undo')),
        request           jsonb NOT NULL,
        requested_by      text NOT NULL,
        begun_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
        end_at            timestamptz NOT NULL,
        read_to_timestamp timestamptz NOT NULL,
        read_to_id        uuid NOT NULL,
        counts            jsonb NOT NULL DEFAULT '{}',
        finished_at       timestamptz
    );
"""


def upgrade() -> None:
    """Creates the table."""
    op.execute(REPROCESSINGS)
