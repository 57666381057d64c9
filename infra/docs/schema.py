"""Tables of the GraphQL schema that the definitions make."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from functions.graphql.schema import schema_text
from functions.shared.catalog.registry import load
from infra.docs.markdown import code, table

# The types that every query meets, in the order in which it meets them; those of single features are left out.
TYPES = (
    "Query",
    "Namespace",
    "AiUsageData",
    "AiUsageEvent",
    "AiUsageEventConnection",
    "User",
    "PageInfo",
    "AiMetrics",
    "AiUserMetrics",
    "AiUsageRow",
    "AiUsageMeasureValue",
    "EventDefinition",
    "PayloadKey",
    "PayloadFilter",
    "AiUsageExclusion",
    "AiUsageMeasure",
    "AiUsageCount",
    "AiUsageRatio",
    "AiUsageHaving",
    "AiUsageMeasureOrder",
    "AiUsageDimension",
    "AiUsageOrder",
    "AiUsageFeature",
)

# The arguments that the schema leaves to the description of their field.
_UNDESCRIBED = {
    "fullPath": "A full path like `gitlab-org/gitlab`, or a group's traversal path like `27/28/`.",
    "paths": "Only the values at these payload paths.",
}


def schema() -> str:
    """Returns a section for each type, and one for the arguments."""
    made = build_schema(schema_text(load()))
    sections = [_arguments_section(made), *(_type_section(made, name) for name in TYPES)]
    return "\n".join(sections)


def _arguments_section(made: GraphQLSchema) -> str:
    """Returns the arguments of all fields, each once, because arguments with one name mean the same everywhere."""
    found: dict[str, GraphQLArgument] = {}
    for type_name in ("Query", "Namespace", "AiUsageData", "AiUsageEvent"):
        for field in _fields(made, type_name).values():
            found |= {name: argument for name, argument in field.args.items() if name not in found}
    rows = [
        [code(name), code(str(argument.type)), argument.description or _UNDESCRIBED[name]]
        for name, argument in found.items()
    ]
    return f"### Arguments\n\n{table(['argument', 'type', 'what it is'], rows)}"


def _type_section(made: GraphQLSchema, name: str) -> str:
    described = made.type_map[name]
    text = " ".join((described.description or "").split())
    head = f"### {name}\n\n{text}\n" if text else f"### {name}\n"
    if isinstance(described, GraphQLEnumType):
        rows = [[code(value), one.description or ""] for value, one in described.values.items()]
        return f"{head}\n{table(['value', 'what it is'], rows)}"
    rows = [[code(field), code(str(one.type)), one.description or ""] for field, one in _fields(made, name).items()]
    return f"{head}\n{table(['field', 'type', 'what it is'], rows)}"


def _fields(made: GraphQLSchema, name: str) -> Mapping[str, Any]:
    described = made.type_map[name]
    if not isinstance(described, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
        raise TypeError(f"{name} has no fields")
    fields: Mapping[str, Any] = described.fields
    return fields
