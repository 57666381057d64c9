"""Counts what each tenant uses."""

from alembic import op

revision = "0015"
down_revision = "0014"

# One row for each tenant, day and shard. Transactions that write at the same time rarely share a shard, so that none
# waits for the commit of another. The retention folds the shards of past days into shard 0. Rows are updated with each
# batch; the free space of a page lets PostgreSQL do so without touching the index.
TENANT_USAGE = """
    CREATE TABLE tenant_usage (
        day    date NOT NULL,
        tenant text COLLATE "C" NOT NULL,
        shard  smallint NOT NULL,
        events bigint NOT NULL,
        stored bigint NOT NULL,
        bytes  bigint NOT NULL,
        PRIMARY KEY (day, tenant, shard)
    ) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Creates the table."""
    op.execute(TENANT_USAGE)
