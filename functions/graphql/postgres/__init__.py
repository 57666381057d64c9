"""Events read from PostgreSQL."""
