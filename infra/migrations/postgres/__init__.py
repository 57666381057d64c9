"""PostgreSQL's numbered migrations, which Alembic applies."""
