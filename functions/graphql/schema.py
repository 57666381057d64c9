"""The GraphQL schema: a fixed part, and what is made from the definitions."""

from pathlib import Path

from ariadne import make_executable_schema
from graphql import GraphQLSchema, print_schema

from functions.graphql.types.events import event_bindables, event_types_text
from functions.graphql.types.metrics import Metrics
from functions.graphql.types.root import top_level_types
from functions.graphql.types.scalars import SCALARS
from functions.graphql.types.usage import usage_rows_bindables, usage_rows_text
from functions.shared.catalog.registry import Registry

_BASE = Path(__file__).with_name("base.graphql")


def schema_text(registry: Registry) -> str:
    """The whole schema in GraphQL's own language, as `schema.graphql` has it."""
    return f"{print_schema(executable_schema(registry))}\n"


def executable_schema(registry: Registry) -> GraphQLSchema:
    """The schema with what resolves it."""
    metrics = Metrics(registry)
    return make_executable_schema(
        [_BASE.read_text(), event_types_text(registry), metrics.text(), usage_rows_text()],
        *SCALARS,
        *event_bindables(registry),
        *metrics.bindables(),
        *usage_rows_bindables(),
        *top_level_types(registry, metrics),
        convert_names_case=True,
    )
