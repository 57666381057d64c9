"""Exports events to files."""
