"""Keeps the directory: what authoritative senders state about namespaces, projects and users in their events."""
