"""The names that a definition imports: `from definitions import Context, Feature, Payload, source`.

Each module beside this file is the definition of one feature. The registry finds all of them.
"""

from functions.shared.catalog.context import Context
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.event_query import EventQuery
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.payload import Payload
from functions.shared.catalog.reserved_ids import reserve_ids
from functions.shared.catalog.source import source
from functions.shared.catalog.users_count import users_count

Usage = EventQuery  # deprecated: the former name

__all__ = [
    "Context",
    "DefinitionError",
    "EventQuery",
    "Feature",
    "Payload",
    "Usage",
    "reserve_ids",
    "source",
    "users_count",
]
