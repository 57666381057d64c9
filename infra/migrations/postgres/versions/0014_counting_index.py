"""Lets what is counted of namespaces and users be read from an index alone."""

from alembic import op

from infra.migrations.steps import BuildIndex, DropIndex, Execute

revision = "0014"
down_revision = "0013"

# As in 0013, but for the setting. PostgreSQL reads an index alone only where a vacuum has found that every transaction
# sees all rows of a page. By default it vacuums a table when the rows that were added have become a fifth of it. The
# newest days, which are read most, would be among these.
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
        EXECUTE format(
            'ALTER TABLE ai_usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name,
            to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
            to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00'
        );
    END
    $$
"""

# Neither readers nor writers wait for this setting.
SET_ON_PARTITIONS = """
    DO $$
    DECLARE
        partition regclass;
    BEGIN
        FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ai_usage_events'::regclass LOOP
            EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0.02)', partition);
        END LOOP;
    END
    $$
"""

# The index begins as the one that it replaces, so whatever reads that one can read this one.
STEPS = (
    BuildIndex(
        "ai_usage_events_counting",
        "ai_usage_events",
        "(namespace_path, timestamp DESC, id DESC) INCLUDE (event, user_id)",
    ),
    DropIndex("ai_usage_events_namespace"),
    Execute("vacuum of new events", SET_ON_PARTITIONS),
)


def upgrade() -> None:
    """Replaces the function. The index is built in a step."""
    op.execute(MAKE_PARTITION)
