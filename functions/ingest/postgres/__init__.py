"""Writes events and rejected events to PostgreSQL."""
