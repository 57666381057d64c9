"""Creates the records of erasures and exports."""

from alembic import op

revision = "0010"
down_revision = "0009"

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


def upgrade() -> None:
    """Creates the tables and the column."""
    for statements in (ERASURES, EXPORTS, ROWS_REMOVED):
        op.execute(statements)
