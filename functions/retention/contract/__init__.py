"""Watches what producers send: which share of an event's payloads carries each declared key."""
