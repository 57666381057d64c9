"""Builds the GraphQL schema: `base.graphql`, and the types made from the definitions."""

from pathlib import Path

from ariadne import make_executable_schema
from graphql import GraphQLSchema, print_schema

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


def executable_schema(registry: Registry) -> GraphQLSchema:
    """The schema with its resolvers."""
    metrics = Metrics(registry)
    return make_executable_schema(
        [
            _BASE.read_text(),
            event_types_text(registry),
            metrics.text(),
            usage_rows_text(),
            people_text(),
            namespaces_text(),
        ],
        *SCALARS,
        *event_bindables(registry),
        *metrics.bindables(),
        *usage_rows_bindables(),
        *people_bindables(),
        user_type(),
        *top_level_types(registry, metrics),
        namespaces_bindable(),
        convert_names_case=True,
    )
