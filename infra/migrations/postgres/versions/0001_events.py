"""Events, what they say about users, namespaces and projects, and what could not be stored."""

from alembic import op

revision = "0001"
down_revision = None

# Paths are compared and searched by their bytes ("C"): a prefix is then a range of an index.
EVENTS = """
    CREATE TABLE ai_usage_events (
        id             uuid NOT NULL,
        timestamp      timestamptz NOT NULL,
        event          smallint NOT NULL,
        user_id        bigint NOT NULL,
        namespace_path text COLLATE "C",
        payload        jsonb NOT NULL,
        xact_id        xid8 NOT NULL DEFAULT pg_current_xact_id()
    ) PARTITION BY RANGE (timestamp);

    CREATE INDEX ai_usage_events_timestamp ON ai_usage_events (timestamp DESC, id DESC);
    CREATE INDEX ai_usage_events_user ON ai_usage_events (user_id, timestamp DESC, id DESC);
    CREATE INDEX ai_usage_events_namespace ON ai_usage_events (namespace_path, timestamp DESC, id DESC);
    CREATE INDEX ai_usage_events_sync ON ai_usage_events (xact_id, id);
"""

DIRECTORY = """
    CREATE TABLE users (
        id               bigint PRIMARY KEY,
        username         text,
        last_activity_on date
    );

    CREATE TABLE namespaces (
        id        bigint PRIMARY KEY,
        path      text COLLATE "C" NOT NULL UNIQUE,
        full_path text COLLATE "C" UNIQUE
    );

    CREATE TABLE projects (
        id             bigint PRIMARY KEY,
        namespace_path text COLLATE "C",
        full_path      text COLLATE "C" UNIQUE
    );

    CREATE TABLE event_types (
        id         smallint PRIMARY KEY,
        name       text NOT NULL UNIQUE,
        feature    text NOT NULL,
        deprecated boolean NOT NULL
    );
"""

REJECTED_EVENTS = """
    CREATE TABLE rejected_events (
        id           uuid PRIMARY KEY,
        received_at  timestamptz NOT NULL,
        source       text NOT NULL,
        code         text NOT NULL,
        message      text NOT NULL,
        body         text NOT NULL,
        sender_grant jsonb,
        attempts     int NOT NULL DEFAULT 1,
        replayed_at  timestamptz
    );

    CREATE INDEX rejected_events_received_at ON rejected_events (received_at);
"""

SYNC_STATE = """
    CREATE TABLE sync_state (
        target     text PRIMARY KEY,
        xact_id    xid8 NOT NULL,
        id         uuid NOT NULL,
        updated_at timestamptz NOT NULL
    );
"""


def upgrade() -> None:
    """Makes the tables; the partitions are made by `migrate`, as they depend on the date."""
    for statements in (EVENTS, DIRECTORY, REJECTED_EVENTS, SYNC_STATE):
        op.execute(statements)
