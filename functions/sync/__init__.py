"""Copies events from PostgreSQL to ClickHouse: the backfill and new events by one mechanism."""
