"""Reads events from ClickHouse."""
