"""The numbered migrations of both stores, and the function by which a deployment applies those of PostgreSQL.

The sync applies those of ClickHouse.
"""
