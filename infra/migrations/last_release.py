"""What the last release relies on, so that its code works while and after the next one is deployed.

Whoever makes a release sets `REVISION` and `CLICKHOUSE_MIGRATION` to its newest migrations, and `UNUSED` to what its
code no longer uses: see "Make a release" in docs/howto/release.md. No version has been released yet; 0011 is the schema
from before the rules.
"""

REVISION = "0011"
"""Newest migration of PostgreSQL that the last release has."""

CLICKHOUSE_MIGRATION = 3
"""Newest migration of ClickHouse that the last release has."""

UNUSED = frozenset[str]()
"""Tables, columns (`table.column`), keys and triggers that the last release has, but that its code no longer uses."""
