"""Lets roles that own no table make the partition of a month."""

from alembic import op

revision = "0013"
down_revision = "0012"

# A partition is created first and attached afterwards, so that writers are not blocked. Rights of the owner, because
# only the owner of a table may attach partitions. Whoever may call the function can only make partitions.
MAKE_PARTITION = """
    CREATE FUNCTION make_event_partition(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    DECLARE
        name text := 'ai_usage_events_' || to_char(month, 'YYYYMM');
    BEGIN
        IF extract(day FROM month) <> 1 THEN
            RAISE EXCEPTION 'a month begins on its first day, not on %', month;
        END IF;
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I (LIKE ai_usage_events INCLUDING ALL, CONSTRAINT %I UNIQUE (id))',
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
    $$;

    REVOKE ALL ON FUNCTION make_event_partition FROM PUBLIC;
"""


def upgrade() -> None:
    """Creates the function."""
    op.execute(MAKE_PARTITION)
