"""Reads events and the directory from PostgreSQL."""
