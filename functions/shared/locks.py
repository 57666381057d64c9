"""The numbers of the advisory locks in PostgreSQL: each is one thing that only one process does at a time."""

DEPLOYMENT = 4_197_001
"""A deployment's migrations."""

DIRECTORY = 4_197_002
"""A change of a fact of the directory; batches that state again what is known share it."""

SYNC = 4_197_004
"""The copying of rows to ClickHouse."""

RETENTION = 4_197_005
"""The making and dropping of partitions."""

PARTITIONS = 4_197_006
"""The making of a partition that an event needs."""

RESTATED_FACTS = 4_197_007
"""The writing of times of facts that were stated again."""

QUERY_SLOTS = 4_197_010
"""The first number of a slot in which a tenant's query runs; the second one is the slot's."""
