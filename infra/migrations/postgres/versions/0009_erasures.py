"""Creates the records of erasures and exports."""

from alembic import op

revision = "0009"
down_revision = "0006"

# `subject` is the id of the user or the traversal path of the namespace; null once it is no longer needed. The ids are
# those of the namespaces and projects that lay within the path: an event that names one of them alone has no path.
ERASURES = """
    CREATE TABLE erasures (
        id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind          text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'namespace')),
        subject       text COLLATE "C",
        namespace_ids bigint[] NOT NULL DEFAULT '{}',
        project_ids   bigint[] NOT NULL DEFAULT '{}',
        requested_by  text NOT NULL,
        requested_at  timestamptz NOT NULL,
        repels_until  timestamptz NOT NULL,
        counts        jsonb NOT NULL DEFAULT '{}',
        postgresql    text NOT NULL DEFAULT 'unfinished' CHECK (postgresql IN ('unfinished', 'done')),
        clickhouse    text NOT NULL DEFAULT 'unfinished' CHECK (clickhouse IN ('unfinished', 'done', 'off')),
        finished_at   timestamptz
    );
"""

EXPORTS = """
    CREATE TABLE exports (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind         text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'namespace')),
        subject      text COLLATE "C",
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL DEFAULT now(),
        counts       jsonb NOT NULL DEFAULT '{}',
        finished_at  timestamptz
    );
"""

# Version of the directory in which rows were last deleted. A cache finds changed rows by their version; rows that are
# gone it can only find by forgetting everything.
ROWS_REMOVED = "ALTER TABLE directory_version ADD COLUMN rows_removed_in bigint NOT NULL DEFAULT 0"

# The user of the row that had the key, so that an erasure finds the record, and the mark that the sync makes of it.
USER_OF_REMOVED_KEY = """
    ALTER TABLE removed_keys ADD COLUMN user_id bigint;

    CREATE OR REPLACE FUNCTION record_removed_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO removed_keys (id, timestamp, event, namespace_path, user_id)
        VALUES (OLD.id, OLD.timestamp, OLD.event, OLD.namespace_path, OLD.user_id);
        RETURN NULL;
    END
    $$;
"""


def upgrade() -> None:
    """Creates the tables and columns."""
    for statements in (ERASURES, EXPORTS, ROWS_REMOVED, USER_OF_REMOVED_KEY):
        op.execute(statements)
