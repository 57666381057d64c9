"""Records which release defined each event type, and the types of payload keys, so that deployments are compared."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Deployments with the same definitions are one release. Releases are numbered in the order of their first deployment.
RELEASES = """
    CREATE TABLE releases (
        number            int PRIMARY KEY,
        digest            text COLLATE "C" NOT NULL UNIQUE,
        first_deployed_at timestamptz NOT NULL DEFAULT now(),
        last_deployed_at  timestamptz NOT NULL DEFAULT now()
    );
"""

# `release` is the first release that defined the event type; 0 for event types of before. `removed_in` is the release
# that removed the event type although rows of it were stored. A removed event type may lend its name to another id.
EVENT_TYPES = """
    ALTER TABLE event_types
        DROP CONSTRAINT event_types_name_key,
        ADD COLUMN release int NOT NULL DEFAULT 0,
        ADD COLUMN removed_in int,
        ADD COLUMN only_in_clickhouse boolean NOT NULL DEFAULT false;
"""

# Rows of months that were dropped before may be of any event type.
DROPPED_ROWS = "UPDATE event_types SET only_in_clickhouse = true WHERE EXISTS (SELECT FROM sync_state)"

# `release` is the release that gave the key its type, or made it required or optional.
PAYLOAD_KEYS = """
    CREATE TABLE payload_keys (
        feature    text COLLATE "C" NOT NULL,
        path       text COLLATE "C" NOT NULL,
        type       text COLLATE "C" NOT NULL,
        required   boolean NOT NULL,
        release    int NOT NULL,
        removed_in int,
        PRIMARY KEY (feature, path)
    );
"""


def upgrade() -> None:
    """Creates the tables and the columns. The next deployment fills them."""
    for statements in (RELEASES, EVENT_TYPES, DROPPED_ROWS, PAYLOAD_KEYS):
        op.execute(statements)
