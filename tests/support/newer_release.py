"""What a newer release adds: a migration of PostgreSQL with long steps, one of ClickHouse, events and payload keys."""

import shutil
from pathlib import Path

REVISION = "9001"

MIGRATION = '''\
"""Adds what only the newer release uses."""

from alembic import op

from infra.migrations.steps import BuildIndex, ChangeRows, Execute

revision = "9001"
down_revision = "{head}"

STEPS = (
    ChangeRows(
        "channel of stored events",
        """
        UPDATE ai_usage_events
        SET channel = 'unknown'
        WHERE (id, timestamp) IN (SELECT id, timestamp FROM ai_usage_events WHERE channel IS NULL LIMIT 10)
        """,
    ),
    BuildIndex("ai_usage_events_channel", "ai_usage_events", "(channel, timestamp DESC) WHERE channel IS NOT NULL"),
    BuildIndex("users_username", "users", "(username)"),
    Execute("check of channels", "ALTER TABLE ai_usage_events VALIDATE CONSTRAINT ai_usage_events_channel_check"),
)


def upgrade() -> None:
    """Adds a column, and a table."""
    op.execute("""
        ALTER TABLE ai_usage_events
            ADD COLUMN channel text,
            ADD CONSTRAINT ai_usage_events_channel_check CHECK (channel <> '') NOT VALID
    """)
    op.execute("CREATE TABLE channels (name text PRIMARY KEY)")
'''

CLICKHOUSE_MIGRATION = "ALTER TABLE ai_usage_events {on_cluster} ADD COLUMN IF NOT EXISTS channel String"

DEFINITION = '''\
"""Events that only the newer release knows."""

from definitions import Feature, Payload


class Channel(Payload):
    """The payload of the newer release's events."""

    channel_name: str | None = None


feature = Feature("channels", owner="channels", payload=Channel)
feature.events(channel_opened=30001)
'''

EVENT, EVENT_ID = "channel_opened", 30001


def head(versions: Path) -> str:
    """Returns the newest revision in the folder."""
    return max(file.name[:4] for file in versions.glob("[0-9]*.py"))


def with_newer_migration(migrations: Path, copy: Path) -> Path:
    """Copies the folder of PostgreSQL's migrations, adds the newer one, and returns the copy."""
    shutil.copytree(migrations, copy, ignore=shutil.ignore_patterns("__pycache__"))
    write_migration(copy)
    return copy


def write_migration(migrations: Path) -> None:
    """Adds the newer migration to the folder of PostgreSQL's migrations."""
    versions = migrations / "versions"
    (versions / f"{REVISION}_newer.py").write_text(MIGRATION.replace("{head}", head(versions)))


def write(checkout: Path) -> None:
    """Makes a copy of this checkout the newer release."""
    (checkout / "definitions" / "channels.py").write_text(DEFINITION)
    migrations = checkout / "infra" / "migrations"
    write_migration(migrations / "postgres")
    (migrations / "clickhouse" / "9001_newer.sql").write_text(CLICKHOUSE_MIGRATION)
    module = checkout / "functions" / "sync" / "migrations.py"
    before, end, after = module.read_text().partition(')\n"""All migrations in order')
    number = before.count("    Migration(") + 2
    added = f'    Migration({number}, "newer", _statement("9001_newer.sql")),\n'
    module.write_text(before + added + end + after)
