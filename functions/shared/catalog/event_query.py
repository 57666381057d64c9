"""Fields that teams add to `AiUsageData`: the resolver, and the event query that it receives."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

OUTPUT_TYPES = ("String", "Int", "Long", "Float", "Boolean", "ID", "Date", "Time", "JSON")


class EventQuery(Protocol):
    """The events of one feature that the GraphQL query selects and the token may read.

    The query selects by namespace, project, days, users and payload filters. Each method counts the events named, or
    without names all of the feature's, deprecated ones included. A path is a payload key, or keys joined by dots
    (`job.size`).

    Raises:
        ValueError: a name is not an event of the feature, or a path is not a declared key of a fitting type.
    """

    def count(self, *events: str) -> int:
        """The number of events."""

    def users(self, *events: str) -> int:
        """The number of distinct users."""

    def sum(self, path: str, *events: str) -> int | float:
        """The sum of the numbers at the path; 0 without any."""

    def distinct(self, path: str, *events: str) -> list[Any]:
        """The distinct values at the path, sorted: at most the first 1,000."""


type ResolverFunction = Callable[[EventQuery], Any]


class Resolver(msgspec.Struct, frozen=True):
    """A field that a team adds to `AiUsageData`.

    Attributes:
        name: name of the field.
        returns: type of the field in GraphQL, like `[String!]!`.
        function: computes the field's value from an event query.
    """

    name: str
    returns: str
    function: ResolverFunction

    @property
    def description(self) -> str:
        """The function's docstring, which describes the field in the schema."""
        return docstring(self.function)


def is_output_type(text: str) -> bool:
    """Whether a resolver may return the GraphQL type `text`: a scalar or a list of scalars, nullable or not.

    >>> is_output_type("[String!]!"), is_output_type("Namespace")
    (True, False)
    """
    text = text.removesuffix("!")
    if text.startswith("[") and text.endswith("]"):
        return is_output_type(text[1:-1])
    return text in OUTPUT_TYPES


def docstring(function: Callable[..., Any]) -> str:
    """The docstring of a function; empty without one, and for other callables such as a `partial`."""
    return inspect.cleandoc(function.__doc__ or "") if inspect.isfunction(function) else ""
