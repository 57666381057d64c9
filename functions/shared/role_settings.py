"""Session settings of the functions whose connections a pooler shares: the consumer and GraphQL.

Connections and roles have the same settings from here: `Database` applies them, unless a deployment has given them to
the role (`infra/migrations/roles.py`).
"""

from functions.shared.postgres import TimeLimits

CONSUMER_LIMITS = TimeLimits(statement=45, transaction=50)

GRAPHQL_LIMITS = TimeLimits(statement=9, transaction=25)
"""A statement that starts late in its request gets the time left as its own limit."""

# A page needs the newest few events, which an index scan yields in order; a bitmap scan would read and sort all.
# No parallel workers, and a memory limit for each sort and hash table, so that one query leaves room for others.
GRAPHQL_OPTIONS = "-c enable_bitmapscan=off -c max_parallel_workers_per_gather=0 -c work_mem=16MB -c jit=off"
