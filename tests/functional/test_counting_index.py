"""The index that counts are read from takes the place of the one by namespace."""

from importlib import import_module

import psycopg

from functions.shared.partitions import later_month, make_partitions, month_of, partitions
from infra.migrations.budget import TimeBudget
from tests.support.clock import NOW

MIGRATION = import_module("infra.migrations.postgres.versions.0014_counting_index")
BEFORE = """
    DROP INDEX ai_usage_events_counting;
    CREATE INDEX ai_usage_events_namespace ON ai_usage_events (namespace_path, timestamp DESC, id DESC)
"""
RESET = "ALTER TABLE {} RESET (autovacuum_vacuum_insert_scale_factor)"
BY_NAMESPACE = """
    SELECT indrelid::regclass::text, indnatts
    FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE attname = 'namespace_path' AND indisvalid AND indrelid::regclass::text LIKE 'ai_usage_events%'
    ORDER BY 1
"""
SETTINGS = """
    SELECT relname
    FROM pg_class
    WHERE relname LIKE 'ai_usage_events_%' AND reloptions @> '{autovacuum_vacuum_insert_scale_factor=0.02}'
    ORDER BY 1
"""
COLUMNS = 5  # namespace_path, timestamp, id, event and user_id


def test_partitions_of_before_get_the_index_and_are_vacuumed_as_new_ones_are(connection: psycopg.Connection) -> None:
    made = partitions(connection)
    connection.execute(BEFORE)
    for name in made:
        connection.execute(RESET.format(name).encode())
    assert connection.execute(BY_NAMESPACE).fetchall() == [(name, 3) for name in ["ai_usage_events", *made]]
    for _ in range(2):  # a deployment may repeat a step
        for step in MIGRATION.STEPS:
            step.run(connection, TimeBudget(60))
    made += make_partitions(connection, [later_month(month_of(NOW.date()), 40)])
    assert connection.execute(BY_NAMESPACE).fetchall() == [(name, COLUMNS) for name in ["ai_usage_events", *made]]
    assert [name for (name,) in connection.execute(SETTINGS)] == made
