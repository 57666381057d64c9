"""The event type of canaries, and the one user and place that they have."""

from collections.abc import Mapping

from functions.ingest.event.location import NO_NAMESPACE, Location, ProjectReference
from functions.shared.canary import EVENT_ID, NAME, NAMESPACE_PATH, USER_ID
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.registry import EventType

__all__ = ["EVENT_TYPES", "LOCATION", "USER_ID"]

LOCATION = Location(NO_NAMESPACE, ProjectReference(), NAMESPACE_PATH)

EVENT_TYPES: Mapping[str, EventType] = {
    NAME: EventType(
        EVENT_ID, NAME, Feature(NAME, owner="usage-events"), deprecated=False, transformations=(), sources={}
    )
}
"""What the sender of canaries may send. Nobody else may, because no registry has it."""
