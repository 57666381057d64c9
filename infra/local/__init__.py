"""The local stack: PostgreSQL, ClickHouse and an AWS endpoint, with the real template deployed on them."""
