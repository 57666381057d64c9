"""`MetricsArgument`: an argument of a feature's metrics field, which selects events by a payload key."""

from collections.abc import Iterator, Mapping

import msgspec

from functions.shared.catalog.names import is_field_name
from functions.shared.catalog.payload_type import PayloadType, type_at

NOT = "not"
"""The argument that takes the same arguments, and leaves out the events that they select."""


class MetricsArgument(msgspec.Struct, frozen=True):
    """An argument that takes a list of values, and selects the events that have one of them.

    Attributes:
        name: name of the argument.
        path: payload key of the values, or keys joined by dots.
        description: text for the schema.
    """

    name: str
    path: str
    description: str


def declared_argument(name: str, path: str, description: str) -> MetricsArgument:
    """The argument with these attributes.

    Raises:
        ValueError: the name is not one that GraphQL allows, or is `not`.
    """
    if not is_field_name(name) or name == NOT or "_" in name:
        raise ValueError(
            f"metrics argument {name!r} is not a name in camelCase that GraphQL allows, other than {NOT!r}"
        )
    return MetricsArgument(name, path, description)


def argument_problems(
    arguments: Mapping[str, MetricsArgument], payload_types: Mapping[str, PayloadType]
) -> Iterator[str]:
    """A line for each argument whose payload key is not declared, or not a text, number or boolean."""
    for argument in arguments.values():
        if type_at(payload_types, argument.path) not in (str, int, float, bool):
            yield (
                f"metrics argument {argument.name!r} needs a key of type str or int or float or bool, "
                f"which {argument.path!r} is not"
            )
