"""Builders, servers, producers and readers for tests."""
