"""The name of an event, for people: also of one that can't be taken in."""

import json


def event_name(event: str) -> str | None:
    """What the event says that it is; None where it says nothing, or is no JSON object."""
    try:
        content = json.loads(event)
    except (ValueError, RecursionError):
        return None
    # A CloudEvent that was rejected as such has a type.
    name = (content.get("event") or content.get("type")) if isinstance(content, dict) else None
    return name if isinstance(name, str) else None
