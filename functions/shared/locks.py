"""Numbers of PostgreSQL's advisory locks; one process at a time holds an exclusive lock."""

DEPLOYMENT = 4_197_001
"""Applying the migrations of a deployment."""

DIRECTORY = 4_197_002
"""Changing a fact in the directory. Batches that only restate known facts share the lock."""

SYNC = 4_197_004
"""Copying rows to ClickHouse."""

RETENTION = 4_197_005
"""Making and dropping partitions on schedule."""

PARTITIONS = 4_197_006
"""Making a partition that an event needs."""

RESTATED_FACTS = 4_197_007
"""Writing the times of restated facts."""

ERASURE = 4_197_008
"""Erasing a user or a namespace."""

MOVES = 4_197_009
"""Moving stored events to where their namespaces and projects are now."""

QUERY_SLOTS = 4_197_010
"""Running a query of a tenant: the first of two numbers, of which the second is the slot."""

ROLLUPS = 4_197_011
"""Building rollups of days in ClickHouse."""

REPROCESS = 4_197_021
"""Running transformations again on stored events."""

REFILL = 4_197_019
"""Filling a new database from ClickHouse."""
