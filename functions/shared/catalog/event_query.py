"""What a field that a team adds to `AiUsageData` is answered from."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

OUTPUT_TYPES = ("String", "Int", "Long", "Float", "Boolean", "ID", "Date", "Time", "JSON")


class EventQuery(Protocol):
    """The events of one feature that a query is about.

    They are those in the namespaces that the token may read and the query names, and on its days, of its users and
    with its payload filters where it names any. Each method takes the names of events, and is about all of the
    feature's, deprecated ones included, where none is given; a name that the feature does not have is a ValueError.
    A path is a payload key, or keys with dots between them (`job.size`).
    """

    def count(self, *events: str) -> int:
        """How many events there are."""

    def users(self, *events: str) -> int:
        """How many users they are of."""

    def sum(self, path: str, *events: str) -> int | float:
        """The total of the numbers at the path; 0 where there are none."""

    def distinct(self, path: str, *events: str) -> list[Any]:
        """The different values at the path, in their order: the first 1,000 of them."""


type ResolverFunction = Callable[[EventQuery], Any]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A field that a team adds to `AiUsageData`.

    Attributes:
        name: of the field.
        returns: its type as GraphQL writes it, like `[String!]!`.
        function: what answers it.
    """

    name: str
    returns: str
    function: ResolverFunction

    @property
    def description(self) -> str:
        """What the docstring of the function says, for the schema."""
        return docstring(self.function)


def is_output_type(text: str) -> bool:
    """Whether a resolver may return what `text` writes: a scalar, or a list; also with exclamation marks.

    >>> is_output_type("[String!]!"), is_output_type("Namespace")
    (True, False)
    """
    text = text.removesuffix("!")
    if text.startswith("[") and text.endswith("]"):
        return is_output_type(text[1:-1])
    return text in OUTPUT_TYPES


def docstring(function: Callable[..., Any]) -> str:
    """The docstring of a function; empty where it has none, or is no function, like a `partial`."""
    return inspect.cleandoc(function.__doc__ or "") if inspect.isfunction(function) else ""
