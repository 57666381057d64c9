"""Prepares for a PostgreSQL that takes the place of another one: after a restore, or by logical replication."""

from alembic import op

from infra.migrations.steps import ChangeRows

revision = "0018"
down_revision = "0017"

# `mark` counts how often the sync was about to copy rows, and ClickHouse is told the number; `server` identifies the
# server from which rows were copied: see `functions.sync.marks`.
MARK = "ALTER TABLE sync_state ADD COLUMN mark bigint NOT NULL DEFAULT 0, ADD COLUMN server text"

# Without a replica identity, a table that is published refuses updates and deletions. It costs nothing elsewhere.
IDENTITIES = """
    ALTER TABLE removed_keys REPLICA IDENTITY FULL;
    ALTER TABLE directory_version REPLICA IDENTITY FULL;
    ALTER TABLE directory_changes REPLICA IDENTITY FULL;
"""

# Only the owner of a partition may call it.
GIVE_IDENTITY = """
    CREATE FUNCTION give_replica_identity(name text) RETURNS void LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    DECLARE
        index_name text := (
            SELECT found.relname
            FROM pg_index
            JOIN pg_class AS found ON found.oid = indexrelid
            WHERE indrelid = name::regclass AND indisunique AND indimmediate AND indpred IS NULL AND indexprs IS NULL
            ORDER BY found.relname
            LIMIT 1
        );
    BEGIN
        EXECUTE format(
            'ALTER TABLE %I REPLICA IDENTITY %s', name, coalesce('USING INDEX ' || quote_ident(index_name), 'FULL')
        );
    END
    $$;

    REVOKE ALL ON FUNCTION give_replica_identity FROM PUBLIC;
"""

MAKE_PARTITION = """
    CREATE OR REPLACE FUNCTION make_event_partition(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    DECLARE
        name text := 'ai_usage_events_' || to_char(month, 'YYYYMM');
    BEGIN
        IF extract(day FROM month) <> 1 THEN
            RAISE EXCEPTION 'a month begins on its first day, not on %', month;
        END IF;
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I (LIKE ai_usage_events INCLUDING ALL, CONSTRAINT %I UNIQUE (id)) '
            'WITH (autovacuum_vacuum_insert_scale_factor = 0.02)',
            name,
            name || '_id_key'
        );
        PERFORM give_replica_identity(name);
        EXECUTE format(
            'ALTER TABLE ai_usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name,
            to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
            to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00'
        );
    END
    $$;
"""

# One partition in each transaction, because each is locked for a moment.
STEPS = (
    ChangeRows(
        "replica identities of partitions",
        """
        SELECT give_replica_identity(relname)
        FROM (
            SELECT child.relname
            FROM pg_inherits
            JOIN pg_class AS child ON child.oid = inhrelid
            WHERE inhparent = 'ai_usage_events'::regclass AND NOT inhdetachpending AND child.relreplident = 'd'
            ORDER BY child.relname DESC
            LIMIT 1
        ) AS partition
        """,
    ),
)


def upgrade() -> None:
    """Adds the columns and the function. The steps give partitions of before a replica identity."""
    for statements in (MARK, IDENTITIES, GIVE_IDENTITY, MAKE_PARTITION):
        op.execute(statements)
