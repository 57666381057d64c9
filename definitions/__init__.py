"""What product teams define: one module a feature, found by itself.

A definition imports what it needs from here: `from definitions import Context, Feature, Payload`.
"""

from functions.shared.catalog.context import Context
from functions.shared.catalog.event_query import Usage
from functions.shared.catalog.feature import DefinitionError, Feature
from functions.shared.catalog.payload import Payload

__all__ = ["Context", "DefinitionError", "Feature", "Payload", "Usage"]
