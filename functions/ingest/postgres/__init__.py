"""Writing events and rejected events to PostgreSQL."""
