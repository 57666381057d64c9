"""Runs transformations again on stored events."""
