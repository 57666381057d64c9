"""The names that a definition imports: `from definitions import Context, Feature, Payload, source`.

Each module beside this file is the definition of one feature. The registry finds all of them.
"""

from functions.shared.catalog.context import Context
from functions.shared.catalog.event_query import EventQuery
from functions.shared.catalog.feature import DefinitionError, Feature
from functions.shared.catalog.payload import Payload
from functions.shared.catalog.source import source

Usage = EventQuery  # deprecated: the former name

__all__ = ["Context", "DefinitionError", "EventQuery", "Feature", "Payload", "Usage", "source"]
