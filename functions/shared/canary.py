"""What tells canary events from all others: the stack sends them to itself, and measures when they can be read.

No definition can have the id or the name, and no token covers the namespace, so that only canaries are stored so.
Whatever reads the events of definitions leaves canaries out, because it asks for the ids of definitions.
"""

NAME = "usage_events_canary"
"""Name of the event, and of its feature."""

EVENT_ID = 0
"""Id of the event. Those of definitions begin with 1, and both stores have room for 0."""

USER_ID = 0
"""Id of the user of the events. Those of users begin with 1."""

NAMESPACE_PATH = "0/"
"""Path of the namespace of the events. No traversal path begins so, because ids of namespaces begin with 1."""

QUERY = "query Canary($id: ID!) { canaryEvent(id: $id) { postgresql clickhouse } }"
"""The only query that a canary's token may send."""
