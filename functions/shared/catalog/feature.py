"""`Feature`: registers a team's events, transformations and resolvers; its bases register what is measured."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.shared.catalog.context import Context
from functions.shared.catalog.declared_metrics import DeclaredMetrics
from functions.shared.catalog.declared_seats import DeclaredSeats
from functions.shared.catalog.declared_sessions import DeclaredSessions
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.event_query import OUTPUT_TYPES, Resolver, ResolverFunction, is_output_type
from functions.shared.catalog.graphql_names import GraphqlNames
from functions.shared.catalog.names import (
    event_count_field,
    is_field_name,
    is_graphql_name,
)
from functions.shared.catalog.payload import Payload
from functions.shared.catalog.payload_type import DeclaredKey, PayloadType, declared_keys, key_types

if TYPE_CHECKING:
    import psycopg

MAX_EVENT_ID = 32767

type Transformation = Callable[[Context], Mapping[str, Any]]
type Prefetch = Callable[[Sequence[Context], "psycopg.Connection[Any]"], list[dict[str, Any]]]

CODE_ERRORS = (Exception, SystemExit)
"""What the code of a definition may raise. `sys.exit` must not end the function that runs the code."""


class Feature(GraphqlNames, DeclaredMetrics, DeclaredSessions, DeclaredSeats):
    """A group of events owned by one team.

    Args:
        name: in snake_case, unique among the features.
        owner: the team responsible for the feature.
        payload: the class that declares the payload's keys and their types.
        field: the feature's field of `aiUsageData` in GraphQL; by default the name in camelCase + `Events`.
        session_key: payload key whose value the events of one session share; see `sessions`.
        former_names: names that the feature had. What GraphQL made of them still answers, marked as deprecated.
        field_aliases: further names of `field`.
        metrics_aliases: further names of the field with the feature's metrics, which is the name in camelCase.
        counts_as_use: whether an event means that its user used something. Figures of use leave out the events of a
            feature for which this is false, like an assigned seat, unless a query names them.

    Raises:
        DefinitionError: a name is not a GraphQL name, or the payload class has a type that can't be stored.
    """

    def __init__(
        self,
        name: str,
        *,
        owner: str,
        payload: type[Payload] | None = None,
        field: str | None = None,
        session_key: str | None = None,
        former_names: Sequence[str] = (),
        field_aliases: Sequence[str] = (),
        metrics_aliases: Sequence[str] = (),
        counts_as_use: bool = True,
    ) -> None:
        caller = sys._getframe(1).f_globals
        GraphqlNames.__init__(self, name, payload, field, former_names, field_aliases, metrics_aliases)
        DeclaredMetrics.__init__(self)
        DeclaredSessions.__init__(self, session_key)
        DeclaredSeats.__init__(self)
        self.owner = owner
        self.counts_as_use = counts_as_use
        self.module = caller["__name__"]
        self.description = inspect.cleandoc(caller.get("__doc__") or "")
        caller.setdefault("__features__", []).append(self)  # where the registry finds the feature
        self.file = _file_within_project(caller.get("__file__") or self.module)
        self.event_ids: dict[str, int] = {}
        self.deprecated_ids: dict[str, int] = {}
        self.transformations: list[tuple[frozenset[str], Transformation]] = []
        self.prefetcher: Prefetch | None = None
        self.resolvers: dict[str, Resolver] = {}
        self.events_without_payload_class: set[str] = set()
        for written in (name, self.type_name, *former_names, *self.connection_fields, *self.metrics_fields):
            if not is_graphql_name(written):
                raise DefinitionError(f"{self.file}: {written!r} is not a name that GraphQL allows")
        try:
            self.payload_types: dict[str, PayloadType] = key_types(payload) if payload else {}
        except (TypeError, NameError) as error:
            raise DefinitionError(f"{self.file}: {error}") from error

    def events(self, **ids: int) -> Callable[[Transformation], Transformation]:
        """Registers events by name and id at once; the returned decorator may add their transformation.

        Raises:
            DefinitionError: an id is outside 1..32767, or the feature already has the name.
        """
        self._register(self.event_ids, ids)
        return self.transformation(*ids)

    def events_without_payload(self, **ids: int) -> None:
        """Registers events whose payload is empty, although the feature has a payload class.

        Raises:
            DefinitionError: as for `events`.
        """
        self._register(self.event_ids, ids)
        self.events_without_payload_class.update(ids)

    def deprecated_events(self, **ids: int) -> None:
        """Reserves names and ids of old data: still readable, no longer accepted.

        Raises:
            DefinitionError: as for `events`.
        """
        self._register(self.deprecated_ids, ids)

    def transformation(self, *names: str) -> Callable[[Transformation], Transformation]:
        """Decorates a further transformation of the events named; without names, of all the feature's events.

        Transformations run in the order of their registration. Each sees the context merged with the results of
        the earlier ones.
        """

        def register(function: Transformation) -> Transformation:
            self.transformations.append((frozenset(names), function))
            return function

        return register

    def prefetch(self, function: Prefetch) -> Prefetch:
        """Decorates the function that reads additional context for a whole batch, in one query.

        The function runs before the transformations. It receives the contexts of the feature's events in the batch
        and a read-only connection, and returns one dict a context, which is merged into that context.
        """
        self.prefetcher = function
        return function

    def resolver(self, name: str, *, returns: str) -> Callable[[ResolverFunction], ResolverFunction]:
        """Decorates a function that resolves a further field of `AiUsageData` from the feature's events.

        Args:
            name: name of the field.
            returns: type of the field in GraphQL: a scalar, or a list of scalars.

        Raises:
            DefinitionError: the name or type is invalid, or the feature already has a resolver of that name.
        """
        if not is_field_name(name):
            message = f"resolver {name!r} is not a name that GraphQL allows, beginning in lower case"
            raise DefinitionError(f"{self.file}: {message}")
        if not is_output_type(returns):
            message = f"resolver {name!r} returns {returns!r}: use {', '.join(OUTPUT_TYPES)}, or a list of one"
            raise DefinitionError(f"{self.file}: {message}")
        if name in self.resolvers:
            raise DefinitionError(f"{self.file}: resolver {name!r} is defined twice")

        def register(function: ResolverFunction) -> ResolverFunction:
            if inspect.iscoroutinefunction(function):
                raise DefinitionError(f"{self.file}: resolver {name!r} is async; make it an ordinary function")
            self.resolvers[name] = Resolver(name, returns, function)
            return function

        return register

    @property
    def all_ids(self) -> dict[str, int]:
        """The ids of all events by name, deprecated ones included."""
        return self.event_ids | self.deprecated_ids

    def ids_of(self, names: Sequence[str]) -> tuple[int, ...]:
        """The ids of the events named; without names, of all the feature's events.

        Raises:
            ValueError: the feature has no event of that name.
        """
        ids = self.all_ids
        for name in names:
            if name not in ids:
                raise ValueError(f"{self.file}: the feature {self.name} has no event {name!r}")
        return tuple(ids[name] for name in names or ids)

    @property
    def declared_keys(self) -> tuple[DeclaredKey, ...]:
        """The keys that the payload class declares, those of nested objects included."""
        return tuple(declared_keys(self.payload)) if self.payload else ()

    def transformations_of(self, event_name: str) -> tuple[Transformation, ...]:
        """The transformations of one event, in the order of running."""
        return tuple(function for names, function in self.transformations if not names or event_name in names)

    def _register(self, registered: dict[str, int], ids: Mapping[str, int]) -> None:
        for name, event_id in ids.items():
            if not (is_graphql_name(name) and is_graphql_name(event_count_field(name))):
                raise DefinitionError(f"{self.file}: event name {name!r} is not a name that GraphQL allows")
            if type(event_id) is not int or not 1 <= event_id <= MAX_EVENT_ID:
                raise DefinitionError(f"{self.file}: id {event_id!r} of {name} is outside 1..{MAX_EVENT_ID}")
            if name in self.all_ids:
                raise DefinitionError(f"{self.file}: event {name} is defined twice")
            registered[name] = event_id


def function_name(function: Callable[..., Any]) -> str:
    """The name of a function, or its `repr` if it has no name, like a `partial`."""
    return getattr(function, "__name__", None) or repr(function)


def _file_within_project(file: str) -> str:
    root = Path(__file__).parents[3]
    return str(Path(file).relative_to(root)) if Path(file).is_relative_to(root) else file
