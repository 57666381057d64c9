"""Records the long steps of migrations, which go on where they stopped."""

from alembic import op

revision = "0012"
down_revision = "0011"

STEPS_TABLE = """
    CREATE TABLE migration_steps (
        revision text COLLATE "C" NOT NULL,
        number   int NOT NULL,
        name     text NOT NULL,
        done_at  timestamptz,
        PRIMARY KEY (revision, number)
    );
"""


def upgrade() -> None:
    """Creates the table. No migration of before has steps."""
    op.execute(STEPS_TABLE)
