"""The arguments of a feature's metrics, like `codeSuggestions(languages: ["ruby"], not: {ideNames: ["vim"]})`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from ariadne import convert_camel_case_to_snake

from functions.graphql.query.conditions import Condition, Not
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.types.filters import conditions
from functions.graphql.types.sdl import description
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import value_type
from functions.shared.catalog.metrics_argument import NOT, MetricsArgument

_GRAPHQL_TYPES = {str: "String", int: "Long", float: "Float", bool: "Boolean"}


def arguments_text(feature: Feature) -> str:
    """The schema text of the arguments, in brackets; empty for a feature without any."""
    if not feature.metrics_arguments:
        return ""
    about = description("Without the events that these select. An event without a value is selected by none.")
    return f"(\n{_arguments(feature)}{about}{NOT}: {feature.metrics_filter_type_name}\n)"


def filter_type_text(feature: Feature) -> str:
    """The schema text of the type of the argument `not`; empty for a feature without arguments."""
    if not feature.metrics_arguments:
        return ""
    about = description(f"Which events of {feature.name} to leave out.")
    return f"{about}input {feature.metrics_filter_type_name} {{\n{_arguments(feature)}}}\n"


def argument_conditions(feature: Feature, given: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions on the payload that the arguments set; an argument that is null sets none.

    Raises:
        InvalidArgument: a value is invalid, or there are too many.
    """
    selected = _conditions(feature, given)
    left_out = _conditions(feature, given.get(NOT) or {})
    return (*selected, *(Not(each) for each in left_out))


def _conditions(feature: Feature, given: Mapping[str, Any]) -> Iterable[Any]:
    for argument in feature.metrics_arguments.values():
        values: Sequence[Any] | None = given.get(_python_name(argument.name))
        if values is not None:
            yield from _one_of(argument, values)


def _one_of(argument: MetricsArgument, values: Sequence[Any]) -> Iterator[Condition]:
    operator = "payload: in"
    try:
        yield from conditions([{"path": argument.path, "in": list(values)}])
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace(operator, f"{argument.name}:", 1)) from None


def _arguments(feature: Feature) -> str:
    lines = []
    for argument in feature.metrics_arguments.values():
        about = argument.description or f"Only events with one of these values at `{argument.path}`."
        graphql_type = _GRAPHQL_TYPES[value_type(feature.payload_types, argument.path)]
        lines.append(f"{description(about)}{argument.name}: [{graphql_type}!]\n")
    return "".join(lines)


@cache
def _python_name(name: str) -> str:
    """The name under which resolvers receive an argument."""
    return convert_camel_case_to_snake(name)
