"""Finds the name of an event for display, also of an event that can't be stored."""

import json


def event_name(event: str) -> str | None:
    """Returns the name that the event states; None without one, or if the event is not a JSON object."""
    try:
        content = json.loads(event)
    except (ValueError, RecursionError):
        return None
    # A rejected CloudEvent has `type` instead of `event`.
    name = (content.get("event") or content.get("type")) if isinstance(content, dict) else None
    return name if isinstance(name, str) else None
