"""The types of the schema that the GraphQL function's package holds, beside those that are made from their text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema, graphql_sync, print_schema

from functions.graphql import schema as schemas
from functions.graphql.schema import compiled_types, executable_schema
from functions.shared.catalog.registry import load
from tests.support.definitions import load_from

ARGUMENT = ("out_name", "description", "deprecation_reason", "default_value")
ENUM_VALUE = ("value", "description", "deprecation_reason")
QUERY = "{ __schema { types { name fields(includeDeprecated: true) { name args { name defaultValue } } } } }"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("compiled") / "schema.pickle"
    file.write_bytes(compiled_types(load()))
    return file


@pytest.fixture
def never_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "make_executable_schema", None)


@pytest.fixture(scope="module")
def parsed() -> GraphQLSchema:
    return executable_schema(load())


@pytest.mark.usefixtures("never_parses")
def test_compiled_types_make_the_schema_that_their_text_makes(compiled: Path, parsed: GraphQLSchema) -> None:
    made = executable_schema(load(), compiled)
    assert print_schema(made) == print_schema(parsed)
    assert graphql_sync(made, QUERY) == graphql_sync(parsed, QUERY)
    assert list(_details(made)) == list(_details(parsed))


def test_types_compiled_for_other_definitions_are_not_used(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    changed = load_from(tmp_path, one='Feature("one", owner="nobody").events(first=1)')
    made = executable_schema(changed, compiled)
    assert "oneEvents" in made.type_map["AiUsageData"].fields  # type: ignore[attr-defined]
    assert print_schema(made) == print_schema(executable_schema(changed))


def _details(schema: GraphQLSchema) -> Iterator[Any]:
    """Yields what a schema knows beyond its text: how values and names become those of Python, and who resolves."""
    for name, made in sorted(schema.type_map.items()):
        yield name, type(made), [_of(getattr(made, member, None)) for member in ("serialize", "resolve_type")]
        yield [[getattr(value, one) for one in ENUM_VALUE] for value in getattr(made, "values", {}).values()]
        for field_name, field in getattr(made, "fields", {}).items():
            yield field_name, str(field.type), getattr(field, "out_name", None), _of(getattr(field, "resolve", None))
            for argument_name, argument in getattr(field, "args", {}).items():
                yield argument_name, str(argument.type), [getattr(argument, member) for member in ARGUMENT]


def _of(function: Any) -> Any:
    """Returns where a function was made: resolvers are made anew for each schema."""
    return getattr(function, "__code__", None) or type(function)
