"""Numbered migrations of both stores, and the function that applies those of PostgreSQL at deployment.

The sync applies the migrations of ClickHouse.
"""
