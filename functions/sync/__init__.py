"""Copies events from PostgreSQL to ClickHouse, and moves stored events after their namespaces and projects."""
