"""What a team writes in its definition file: a feature, its events and their transformations."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.shared.context import Context
from functions.shared.names import camel_case, is_graphql_name, pascal_case
from functions.shared.payload import Payload

if TYPE_CHECKING:
    import psycopg

LARGEST_EVENT_ID = 32767

type Transformation = Callable[[Context], Mapping[str, Any]]
type Prefetch = Callable[[Sequence[Context], "psycopg.Connection[Any]"], list[dict[str, Any]]]


class DefinitionError(Exception):
    """A definition that can't be used; the message names the files at fault."""


class Feature:
    """A group of events owned by one team.

    Args:
        name: in snake_case, unique among the features.
        owner: the team that answers for it.
        payload: the class that names and types what its events carry.
        field: its field of `aiUsageData` in GraphQL; the name in camelCase + `Events` where not given.

    Raises:
        DefinitionError: a name is not usable in GraphQL.
    """

    def __init__(
        self, name: str, *, owner: str, payload: type[Payload] | None = None, field: str | None = None
    ) -> None:
        caller = sys._getframe(1).f_globals
        self.name = name
        self.owner = owner
        self.payload = payload
        self.field = field or f"{camel_case(name)}Events"
        self.type_name = f"{payload.__name__ if payload else pascal_case(name)}Event"
        self.description = inspect.cleandoc(caller.get("__doc__") or "")
        caller.setdefault("__features__", []).append(self)  # where the registry looks for it
        self.file = _file_within_project(caller.get("__file__") or caller["__name__"])
        self.event_ids: dict[str, int] = {}
        self.deprecated_ids: dict[str, int] = {}
        self.transformations: list[tuple[frozenset[str], Transformation]] = []
        self.prefetcher: Prefetch | None = None
        for written in (name, self.field, self.type_name):
            if not is_graphql_name(written):
                raise DefinitionError(f"{self.file}: {written!r} is not a name that GraphQL allows")

    def events(self, **ids: int) -> Callable[[Transformation], Transformation]:
        """Registers events by name and id, at once; what it returns may decorate their transformation.

        Raises:
            DefinitionError: an id outside 1..32767, or a name or id that the feature has already.
        """
        self._register(self.event_ids, ids)
        return self.transformation(*ids)

    def deprecated_events(self, **ids: int) -> None:
        """Reserves names and ids of old data: still readable, no longer accepted.

        Raises:
            DefinitionError: as for `events`.
        """
        self._register(self.deprecated_ids, ids)

    def transformation(self, *names: str) -> Callable[[Transformation], Transformation]:
        """Decorates a further transformation, of the events named, or of all the feature's where none is.

        They run in the order of their registration; each sees the context merged with what the earlier
        ones returned.
        """

        def register(function: Transformation) -> Transformation:
            self.transformations.append((frozenset(names), function))
            return function

        return register

    def prefetch(self, function: Prefetch) -> Prefetch:
        """Decorates the function that retrieves additional context for a whole batch, in one query.

        It is called before the transformations with the contexts of the batch's events of this feature and a
        read-only connection, and returns a dict for each context, which is merged into it.
        """
        self.prefetcher = function
        return function

    def transformations_of(self, event_name: str) -> tuple[Transformation, ...]:
        """The transformations of one event, in the order in which they run."""
        return tuple(function for names, function in self.transformations if not names or event_name in names)

    def _register(self, registered: dict[str, int], ids: Mapping[str, int]) -> None:
        for name, event_id in ids.items():
            if not is_graphql_name(name):
                raise DefinitionError(f"{self.file}: event name {name!r} is not a name that GraphQL allows")
            if type(event_id) is not int or not 1 <= event_id <= LARGEST_EVENT_ID:
                raise DefinitionError(f"{self.file}: id {event_id!r} of {name} is outside 1..{LARGEST_EVENT_ID}")
            if name in self.event_ids or name in self.deprecated_ids:
                raise DefinitionError(f"{self.file}: event {name} is defined twice")
            registered[name] = event_id


def function_name(function: Callable[..., Any]) -> str:
    """The name of a function, or what stands for it where it has none, like a `partial`."""
    return getattr(function, "__name__", None) or repr(function)


def _file_within_project(file: str) -> str:
    root = Path(__file__).parents[2]
    return str(Path(file).relative_to(root)) if Path(file).is_relative_to(root) else file
