"""What product teams define: one module a feature, found by itself.

A definition imports what it needs from here: `from definitions import Context, Feature, Payload`.
"""

from functions.shared.context import Context
from functions.shared.feature import DefinitionError, Feature
from functions.shared.payload import Payload
from functions.shared.usage import Usage

__all__ = ["Context", "DefinitionError", "Feature", "Payload", "Usage"]
