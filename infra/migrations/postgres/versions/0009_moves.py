"""Records the moves of namespaces and projects, and every path at which unlimited senders knew them."""

from alembic import op

revision = "0009"
down_revision = "0008"

# A former path of a namespace or project, from which stored events move to where it is now. `version` is that of the
# directory when the path was last left, or when names moved from there. Rows of transactions below `before_xact` move,
# and those of `late_xacts`, which did not know of the move. All others were meant to be there: a limited sender's event
# may name a path that its namespace has left. `opened` counts how often something was known to be left there.
MOVES = """
    CREATE TABLE namespace_moves (
        number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind        text COLLATE "C" NOT NULL CHECK (kind IN ('namespace', 'project')),
        id          bigint NOT NULL,
        old_path    text COLLATE "C" NOT NULL,
        new_path    text COLLATE "C" NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        version     bigint NOT NULL,
        opened      bigint NOT NULL DEFAULT 1,
        before_xact xid8 NOT NULL,
        late_xacts  xid8[] NOT NULL DEFAULT '{}',
        progress    bigint NOT NULL DEFAULT 0,
        done_at     timestamptz,
        UNIQUE (kind, id, old_path)
    );

    CREATE INDEX namespace_moves_old_path ON namespace_moves (old_path);
    CREATE INDEX namespace_moves_version ON namespace_moves (version);
    CREATE INDEX namespace_moves_open ON namespace_moves (number) WHERE done_at IS NULL;
"""

# The moves after which nothing is left at the old path in the months that only ClickHouse has.
MOVES_IN_CLICKHOUSE = """
    CREATE TABLE namespace_moves_in_clickhouse (
        number  bigint NOT NULL REFERENCES namespace_moves (number) ON DELETE CASCADE,
        target  text NOT NULL,
        opened  bigint NOT NULL,
        done_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (number, target)
    );
"""

# Everything below a path is found by ranges of the path.
INDEXES = """
    CREATE INDEX facts_path ON facts (value) WHERE attribute = 'path';
    CREATE INDEX projects_namespace_path ON projects (namespace_path);
    CREATE INDEX user_names_namespace_path ON user_names (namespace_path);
"""

# Functions of the release before write ancestor paths until they are replaced.
KNOWN_PATHS = """
    ALTER TABLE facts DROP CONSTRAINT facts_attribute_check;
    ALTER TABLE facts ADD CONSTRAINT facts_attribute_check
        CHECK (attribute IN ('path', 'full_path', 'ancestor_path', 'known_path'));

    UPDATE facts SET attribute = 'known_path', scope = coalesce(value, '') WHERE attribute = 'ancestor_path';

    INSERT INTO facts (kind, id, attribute, scope, value, stated_at)
    SELECT kind, id, 'known_path', value, value, 'epoch'
    FROM facts
    WHERE attribute = 'path' AND scope = '' AND value IS NOT NULL
    ON CONFLICT DO NOTHING;
"""


def upgrade() -> None:
    """Creates the tables and the indexes. No move of before is known, so no stored event moves."""
    for statements in (MOVES, MOVES_IN_CLICKHOUSE, INDEXES, KNOWN_PATHS):
        op.execute(statements)
