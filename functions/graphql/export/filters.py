"""Reads the filters of an export: the arguments of GraphQL's field `all`, given as texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLSchema,
    coerce_input_value,
    get_named_type,
    get_nullable_type,
    validate_input_value,
)

from functions.graphql.query.errors import InvalidArgument

_PAGE = ("first", "after", "last", "before")
_MAX_EXCERPT_CHARACTERS = 200
_EXAMPLES = {"payload": '{"path": "job.id", "gt": 1}', "not": '{"features": ["CHAT"]}'}


def read_filters(
    schema: GraphQLSchema, given: Mapping[str, Sequence[str]], *, suggestions: bool = True
) -> dict[str, Any]:
    """Reads filters as GraphQL reads a field's arguments.

    Args:
        given: texts by the filter's name. A list is given as several texts, or with commas in a text; an object, or a
            list of objects, is given as JSON.
        suggestions: whether messages may suggest names of the schema.

    Returns:
        The arguments for `functions.graphql.types.arguments.select`.

    Raises:
        InvalidArgument: a text is not a value of the filter; the message names the filter.
    """
    types = _types(schema)
    filters: dict[str, Any] = {}
    for name, texts in given.items():
        if name not in types:
            raise InvalidArgument(f"There is no filter {name!r}: use {', '.join(types)}.")
        out_name, input_type = types[name]
        filters[out_name] = _coerced(name, _value(name, texts, input_type), input_type, suggestions=suggestions)
    return filters


def _types(schema: GraphQLSchema) -> dict[str, tuple[str, GraphQLInputType]]:
    """The name in Python and the type of each filter."""
    data = schema.type_map["AiUsageData"]
    arguments = data.fields["all"].args if isinstance(data, GraphQLObjectType) else {}
    return {
        name: (argument.out_name or name, argument.type) for name, argument in arguments.items() if name not in _PAGE
    }


def _value(name: str, texts: Sequence[str], input_type: GraphQLInputType) -> Any:
    """The value as JSON has it."""
    is_list = isinstance(get_nullable_type(input_type), GraphQLList)
    has_objects = isinstance(get_named_type(input_type), GraphQLInputObjectType)
    if is_list and has_objects:
        values = [_json_value(name, text) for text in texts]
        return [each for value in values for each in (value if isinstance(value, list) else [value])]
    if is_list:
        return [part for text in texts for part in text.split(",") if part]
    if len(texts) != 1:
        raise InvalidArgument(f"{name} takes one value, not {len(texts)}.")
    return _json_value(name, texts[0]) if has_objects else texts[0]


def _json_value(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidArgument(f"{name} must be JSON like {_EXAMPLES.get(name, '{}')}.") from None


def _coerced(name: str, value: Any, input_type: GraphQLInputType, *, suggestions: bool) -> Any:
    errors: list[str] = []

    def add(error: GraphQLError, path: Sequence[str | int]) -> None:
        within = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        errors.append(f"{name}{within}: {error.message[:_MAX_EXCERPT_CHARACTERS]}")

    validate_input_value(value, input_type, add, hide_suggestions=not suggestions)
    if errors:
        raise InvalidArgument(errors[0])
    return coerce_input_value(value, input_type)
