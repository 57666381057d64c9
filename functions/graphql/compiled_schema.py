"""The types of the schema as the build of the package made them from their text.

Reading the text takes a third of a cold start. The file holds what the text says, and no resolvers. It is as
trustworthy as the compiled modules beside it, which the same build makes, and it begins with a digest of the text, so
that a file made from another text is never used.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import graphql
from graphql import (
    DefinitionNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    GraphQLSchema,
    InputValueDefinitionNode,
)

FILE = Path(__file__).with_name("schema.pickle")
"""Where the package has the types; missing where the functions run from their source."""

_DIGEST_BYTES = hashlib.sha256().digest_size
_PARSED = (DefinitionNode, FieldDefinitionNode, InputValueDefinitionNode, EnumValueDefinitionNode)


def compiled(text: str) -> bytes:
    """Returns what the file of a valid schema's text holds."""
    schema = graphql.build_schema(text, assume_valid=True, no_location=True)
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(schema)
    return _digest(text) + file.getvalue()


def types_of(text: str, file: Path) -> GraphQLSchema | None:
    """Returns the types of a schema's text without resolvers; None if there is no file made from this text."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if content[:_DIGEST_BYTES] != _digest(text):
        return None
    types: GraphQLSchema = pickle.loads(content[_DIGEST_BYTES:])  # noqa: S301 - part of the package, like its code
    return types


class _Pickler(pickle.Pickler):
    """Leaves out the parsed definitions: the types hold all of them that is needed, and they take most of the time."""

    def reducer_override(self, value: Any) -> Any:
        return (type(None), ()) if isinstance(value, _PARSED) else NotImplemented


def _digest(text: str) -> bytes:
    """Returns a digest of the text and of what reads it."""
    return hashlib.sha256(f"graphql-core {graphql.version}\n{text}".encode()).digest()
