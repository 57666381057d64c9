"""Records which days of events in ClickHouse changed, and which rollup of each day counts."""

from alembic import op

revision = "0011"
down_revision = "0010"

# `target` is the table of events in ClickHouse. `changes` counts how often the day's events were about to change there;
# `build` identifies the day's rollup, which has seen the first `built_changes` of them. The rollup counts only
# while both numbers are equal. `measures` names what the rollup holds beside counts and users.
DAYS = """
    CREATE TABLE rollup_days (
        target        text NOT NULL,
        day           date NOT NULL,
        changes       bigint NOT NULL,
        changed_at    timestamptz,
        build         bigint,
        built_changes bigint,
        measures      text[] NOT NULL DEFAULT '{}',
        PRIMARY KEY (target, day)
    );
"""

# Changes that may still reach ClickHouse. A row stays if the process dies that was about to make the change.
CHANGES = """
    CREATE TABLE rollup_changes (
        number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        target   text NOT NULL,
        day      date NOT NULL,
        begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
"""


def upgrade() -> None:
    """Creates the tables. No day has a rollup yet."""
    for statements in (DAYS, CHANGES):
        op.execute(statements)
