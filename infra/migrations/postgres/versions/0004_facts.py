"""Facts: what authoritative senders said of namespaces, projects and users, when, and who said it."""

from alembic import op

revision = "0004"
down_revision = "0003"

# `scope` keeps apart what a sender says who may state facts within some namespaces only, and what others say.
FACTS = """
    CREATE TABLE facts (
        kind              text COLLATE "C" NOT NULL CHECK (kind IN ('namespace', 'project')),
        id                bigint NOT NULL,
        attribute         text COLLATE "C" NOT NULL CHECK (attribute IN ('path', 'full_path', 'ancestor_path')),
        scope             text COLLATE "C" NOT NULL DEFAULT '',
        value             text COLLATE "C",
        stated_at         timestamptz,
        issuer            text COLLATE "C" NOT NULL DEFAULT '',
        sub               text COLLATE "C" NOT NULL DEFAULT '',
        namespaces        text[] NOT NULL DEFAULT '{}',
        first_received_at timestamptz,
        changed_in        bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (kind, id, attribute, scope)
    ) WITH (fillfactor = 80);

    CREATE INDEX facts_full_path ON facts (value) WHERE attribute = 'full_path';
    CREATE INDEX facts_changed_in ON facts (changed_in) WHERE changed_in > 0;
"""

# The name of a user that was stated last in a namespace, or ('') without one. `unlimited_username` is the one that was
# stated last by senders who may state facts everywhere.
USER_NAMES = """
    CREATE TABLE user_names (
        user_id            bigint NOT NULL,
        namespace_path     text COLLATE "C" NOT NULL DEFAULT '',
        username           text COLLATE "C",
        stated_at          timestamptz NOT NULL,
        issuer             text COLLATE "C" NOT NULL DEFAULT '',
        sub                text COLLATE "C" NOT NULL DEFAULT '',
        unlimited_username text COLLATE "C",
        unlimited_at       timestamptz,
        changed_in         bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (user_id, namespace_path)
    ) WITH (fillfactor = 80);

    CREATE INDEX user_names_changed_in ON user_names (changed_in) WHERE changed_in > 0;
    CREATE INDEX user_names_forgotten ON user_names (user_id) WHERE username IS NULL;
"""

# The number of the last change of a fact's value: what a consumer has read before stays true until it moves on.
VERSION = """
    CREATE TABLE directory_version (number bigint NOT NULL);
    INSERT INTO directory_version VALUES (0);
"""

# Facts that events stated again: a row a batch, until their times are written into `facts`.
RESTATED = """
    CREATE TABLE restated_facts (
        id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        statements json NOT NULL
    );
    ALTER TABLE restated_facts ALTER COLUMN statements SET STORAGE EXTERNAL;
"""

CHANGES = """
    CREATE TABLE directory_changes (
        changed_at timestamptz NOT NULL DEFAULT now(),
        changed_by text NOT NULL,
        command    text NOT NULL,
        kind       text NOT NULL,
        id         bigint NOT NULL,
        before     jsonb NOT NULL,
        after      jsonb NOT NULL
    );
"""

# Nobody knows who stated what is there already, or when. It stays, and the first authoritative sender overwrites it.
# Names of users stay in `users` alone: no namespace is known whose readers may be shown them.
FACTS_OF_BEFORE = """
    INSERT INTO facts (kind, id, attribute, value)
    SELECT 'namespace', id, 'path', path FROM namespaces
    UNION ALL
    SELECT 'namespace', id, 'full_path', full_path FROM namespaces WHERE full_path IS NOT NULL
    UNION ALL
    SELECT 'project', id, 'path', namespace_path FROM projects WHERE namespace_path IS NOT NULL
    UNION ALL
    SELECT 'project', id, 'full_path', full_path FROM projects WHERE full_path IS NOT NULL
"""


def upgrade() -> None:
    """Makes the tables. `namespaces`, `projects` and `users` go on to hold what follows from the facts."""
    for statements in (FACTS, USER_NAMES, VERSION, RESTATED, CHANGES, FACTS_OF_BEFORE):
        op.execute(statements)
