"""Events read from ClickHouse."""
