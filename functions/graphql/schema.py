"""Builds the GraphQL schema: `base.graphql`, and the types made from the definitions."""

from collections.abc import Iterator
from pathlib import Path

from ariadne import SchemaBindable, convert_schema_names, make_executable_schema, repair_schema_default_enum_values
from graphql import GraphQLSchema, print_schema

from functions.graphql import compiled_schema
from functions.graphql.types.events import event_bindables, event_types_text
from functions.graphql.types.metrics import Metrics
from functions.graphql.types.namespaces import namespaces_bindable, namespaces_text
from functions.graphql.types.people import people_bindables, people_text
from functions.graphql.types.root import top_level_types
from functions.graphql.types.scalars import SCALARS
from functions.graphql.types.usage import usage_rows_bindables, usage_rows_text
from functions.graphql.types.user_fields import user_type
from functions.shared.catalog.registry import Registry

_BASE = Path(__file__).with_name("base.graphql")


def schema_text(registry: Registry) -> str:
    """The text of the whole schema, as in `schema.graphql`."""
    return f"{print_schema(executable_schema(registry))}\n"


def compiled_types(registry: Registry) -> bytes:
    """The types of the definitions' schema, for the file of `compiled_schema`."""
    executable_schema(registry)  # raises an error if the schema is not valid
    return compiled_schema.compiled(_text(registry, Metrics(registry)))


def executable_schema(registry: Registry, compiled: Path = compiled_schema.FILE) -> GraphQLSchema:
    """The schema with its resolvers.

    Args:
        compiled: the file that `compiled_types` is for; without it, or if it is of other definitions, the text of the
            types is parsed and checked.
    """
    metrics = Metrics(registry)
    text = _text(registry, metrics)
    bindables = _bindables(registry, metrics)
    schema = compiled_schema.types_of(text, compiled)
    if schema is None:
        return make_executable_schema(text, *bindables, convert_names_case=True)
    # What `make_executable_schema` does after it has parsed and checked the text.
    for bindable in bindables:
        bindable.bind_to_schema(schema)
    convert_schema_names(schema, None)
    repair_schema_default_enum_values(schema)
    return schema


def _text(registry: Registry, metrics: Metrics) -> str:
    parts = [
        _BASE.read_text(),
        event_types_text(registry),
        metrics.text(),
        usage_rows_text(),
        people_text(),
        namespaces_text(),
    ]
    return "\n\n".join(parts)


def _bindables(registry: Registry, metrics: Metrics) -> Iterator[SchemaBindable]:
    yield from SCALARS
    yield from event_bindables(registry)
    yield from metrics.bindables()
    yield from usage_rows_bindables()
    yield from people_bindables()
    yield user_type()
    yield from top_level_types(registry, metrics)
    yield namespaces_bindable()
