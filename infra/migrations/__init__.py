"""Migrations of PostgreSQL's schema, and the function that applies them at deployment."""
