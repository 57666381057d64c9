"""Fills a new PostgreSQL with what ClickHouse has of a lost one: the directory, and the events of the kept months."""
