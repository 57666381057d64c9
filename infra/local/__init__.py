"""The local stack: PostgreSQL, ClickHouse and an AWS endpoint, on which the real template is deployed."""
