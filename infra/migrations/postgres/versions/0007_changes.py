"""Adds the project of an event, and records the changes and removals of stored events."""

from alembic import op

revision = "0007"
down_revision = "0006"

PROJECT = """
    ALTER TABLE ai_usage_events ADD COLUMN project_id bigint;

    CREATE INDEX ai_usage_events_project ON ai_usage_events (project_id, timestamp DESC, id DESC)
        WHERE project_id IS NOT NULL;
"""

# Rows of before get the project that their payload names. `migrate` fills one partition after another, each in a
# transaction of its own, because filling all would block writers until this migration ends.
UNFILLED = """
    CREATE TABLE partitions_without_projects (name text COLLATE "C" PRIMARY KEY);

    INSERT INTO partitions_without_projects
    SELECT child.relname
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'ai_usage_events'::regclass;
"""

# A row's key in ClickHouse that the row no longer has, because it was deleted or its key was updated. The sync marks
# the key as removed in ClickHouse, and then deletes the record. Dropping a partition removes nothing from ClickHouse,
# since it fires no trigger. The user is that of the row, so that an erasure finds the record and the mark.
REMOVED_KEYS = """
    CREATE TABLE removed_keys (
        xact_id        xid8 NOT NULL DEFAULT pg_current_xact_id(),
        id             uuid NOT NULL,
        timestamp      timestamptz NOT NULL,
        event          smallint NOT NULL,
        namespace_path text COLLATE "C",
        user_id        bigint
    );

    CREATE INDEX removed_keys_sync ON removed_keys (xact_id, id);
"""

# Rights of the owner, because whoever may change events need not have rights on the records.
TRIGGERS = """
    CREATE FUNCTION set_changing_transaction() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        NEW.xact_id := pg_current_xact_id();
        RETURN NEW;
    END
    $$;

    CREATE FUNCTION record_removed_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO removed_keys (id, timestamp, event, namespace_path, user_id)
        VALUES (OLD.id, OLD.timestamp, OLD.event, OLD.namespace_path, OLD.user_id);
        RETURN NULL;
    END
    $$;

    CREATE TRIGGER ai_usage_events_changed BEFORE UPDATE ON ai_usage_events
        FOR EACH ROW EXECUTE FUNCTION set_changing_transaction();

    CREATE TRIGGER ai_usage_events_moved AFTER UPDATE ON ai_usage_events
        FOR EACH ROW
        WHEN (
            (OLD.id, OLD.timestamp, OLD.event, OLD.namespace_path)
            IS DISTINCT FROM (NEW.id, NEW.timestamp, NEW.event, NEW.namespace_path)
        )
        EXECUTE FUNCTION record_removed_key();

    CREATE TRIGGER ai_usage_events_removed AFTER DELETE ON ai_usage_events
        FOR EACH ROW EXECUTE FUNCTION record_removed_key();
"""


def upgrade() -> None:
    """Adds the column, the records and the triggers."""
    for statements in (PROJECT, UNFILLED, REMOVED_KEYS, TRIGGERS):
        op.execute(statements)
