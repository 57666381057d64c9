"""Whatever the schema has, it describes."""

from collections.abc import Iterator

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from functions.graphql.schema import schema_text
from functions.shared.catalog import registry


def undescribed(schema: GraphQLSchema) -> Iterator[str]:
    """The types, fields, arguments and enum values that nothing is said of."""
    for name, defined in schema.type_map.items():
        if name.startswith("__"):
            continue
        if not defined.description:
            yield name
        if isinstance(defined, GraphQLEnumType):
            yield from (f"{name}.{value}" for value, one in defined.values.items() if not one.description)
        if isinstance(defined, GraphQLInputObjectType):
            yield from (f"{name}.{field}" for field, given in defined.fields.items() if not given.description)
        if isinstance(defined, GraphQLObjectType | GraphQLInterfaceType):
            for field, one in defined.fields.items():
                if not one.description:
                    yield f"{name}.{field}"
                yield from (f"{name}.{field}({key}:)" for key, given in one.args.items() if not given.description)


def test_every_type_field_argument_and_value_has_a_description() -> None:
    assert list(undescribed(build_schema(schema_text(registry.load())))) == []
