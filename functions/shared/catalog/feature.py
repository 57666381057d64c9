"""`Feature`: registers a team's events, transformations, metrics and resolvers."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.shared.catalog.context import Context
from functions.shared.catalog.event_query import OUTPUT_TYPES, Resolver, ResolverFunction, is_output_type
from functions.shared.catalog.graphql_names import GraphqlNames
from functions.shared.catalog.metric import Metric, declared_metric
from functions.shared.catalog.metrics_argument import declared_argument
from functions.shared.catalog.names import (
    event_count_field,
    is_field_name,
    is_graphql_name,
)
from functions.shared.catalog.payload import Payload
from functions.shared.catalog.payload_type import DeclaredKey, PayloadType, declared_keys, key_types
from functions.shared.catalog.seat import SeatEvents
from functions.shared.catalog.session import SessionEvents
from functions.shared.catalog.session_metrics import SessionMetrics

if TYPE_CHECKING:
    import psycopg

MAX_EVENT_ID = 32767

type Transformation = Callable[[Context], Mapping[str, Any]]
type Prefetch = Callable[[Sequence[Context], "psycopg.Connection[Any]"], list[dict[str, Any]]]


CODE_ERRORS = (Exception, SystemExit)
"""What the code of a definition may raise. `sys.exit` must not end the function that runs the code."""


class DefinitionError(Exception):
    """An invalid definition; the message names the files at fault."""


class Feature(GraphqlNames):
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
        super().__init__(name, payload, field, former_names, field_aliases, metrics_aliases)
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
        self.metrics: dict[str, Metric] = {}
        self.resolvers: dict[str, Resolver] = {}
        self.seat_events: SeatEvents | None = None
        self.session_events = None if session_key is None else SessionEvents(session_key)
        self.assigned_users_fields: dict[str, str] = {}
        self.metrics_beside_feature: dict[str, str] = {}
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

    def metric(
        self,
        name: str,
        *,
        events: Sequence[str] | None = None,
        sum: str | None = None,  # noqa: A002 (the word that teams write)
        avg: str | None = None,
        min: str | None = None,  # noqa: A002
        max: str | None = None,  # noqa: A002
        quantile: float | None = None,
        of: str | None = None,
        distinct: str | None = None,
        ratio: Sequence[str] | None = None,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Declares a metric of the feature's events: their count, or what one of the further arguments says.

        The events and metrics named may be declared later.

        Args:
            name: the metric's field in GraphQL.
            events: names of the events to measure; by default all of the feature's, deprecated ones included.
            sum: payload key whose numbers are added up, or keys joined by dots.
            avg: likewise, for the average of the numbers.
            min: likewise, for the least of the numbers.
            max: likewise, for the greatest of the numbers.
            quantile: level of the quantile of the numbers at `of`, from 0 to 1; 0.5 is the median.
            of: payload key of the quantile, or keys joined by dots.
            distinct: payload key whose distinct values are listed, or keys joined by dots.
            ratio: names of two counts or sums of the feature: dividend and divisor.
            unit: what the number is in, which the dashboard shows beside it: `ms`, `lines`, or a currency like `EUR`.

        Raises:
            DefinitionError: the name is not a GraphQL field name or is taken, or the arguments are of two kinds.
        """
        try:
            metric = declared_metric(
                name,
                events=events,
                path_of_kind={"sum": sum, "avg": avg, "min": min, "max": max, "distinct": distinct},
                quantile=quantile,
                of=of,
                ratio=ratio,
                unit=unit,
                description=description,
            )
        except ValueError as error:
            raise DefinitionError(f"{self.file}: {error}") from error
        if name in self.metrics:
            raise DefinitionError(f"{self.file}: metric {name!r} is declared twice")
        self.metrics[name] = metric

    def seats(self, *, assigned: Sequence[str], removed: Sequence[str], product: str) -> None:
        """Declares that events of the feature assign and remove seats of their user, in their namespace.

        Args:
            assigned: names of the events that assign a seat.
            removed: names of the events that remove it.
            product: payload key of what the seat is for, or keys joined by dots.

        Raises:
            DefinitionError: a name of an event is missing, or seats are declared twice.
        """
        if isinstance(assigned, str) or isinstance(removed, str) or not (assigned and removed):
            raise DefinitionError(f"{self.file}: seats: assigned and removed must be lists of at least one name")
        if self.seat_events is not None:
            raise DefinitionError(f"{self.file}: seats are declared twice")
        self.seat_events = SeatEvents(tuple(assigned), tuple(removed), product)

    def assigned_users(self, name: str, *, description: str = "") -> None:
        """Declares a field of `AiMetrics`: how many users have a seat at the end of the period.

        Args:
            name: name of the field.

        Raises:
            DefinitionError: the name is not a GraphQL field name, or the feature declares no seats before.
        """
        if not is_field_name(name):
            message = f"assigned users {name!r} is not a name that GraphQL allows, beginning in lower case"
            raise DefinitionError(f"{self.file}: {message}")
        if self.seat_events is None:
            raise DefinitionError(f"{self.file}: assigned users {name!r} need seats, declared before")
        self.assigned_users_fields[name] = description or "How many users had a seat at the end of the period."

    def sessions(
        self,
        *,
        key: str | None = None,
        begins: Sequence[str] = (),
        ends: Sequence[str] = (),
        completes: Sequence[str] | None = None,
    ) -> None:
        """Declares which events begin and end a session: events with one value at the key, in one namespace.

        Args:
            key: payload key, or keys joined by dots; by default the feature's `session_key`.
            begins: names of the events that begin a session; by default any event does.
            ends: names of the events that end a session; by default the last one, whichever it is.
            completes: names of the events among `ends` that end a session with success; by default all of them. A
                session that ends without one is abandoned.

        Raises:
            DefinitionError: the feature has no key or two, sessions are declared twice, or a list is a text.
        """
        known = self.session_events
        if known is None and key is None:
            raise DefinitionError(f"{self.file}: sessions need a key: the payload key that tells them apart")
        if known is not None and key not in (None, known.key):
            raise DefinitionError(f"{self.file}: sessions have the keys {known.key!r} and {key!r}; give them one")
        if known is not None and known.are_declared:
            raise DefinitionError(f"{self.file}: sessions are declared twice")
        for name, given in (("begins", begins), ("ends", ends), ("completes", completes)):
            if isinstance(given, str):
                raise DefinitionError(f"{self.file}: sessions: {name} must be a list of names")
        completing = tuple(ends if completes is None else completes)
        written = key if known is None else known.key
        self.session_events = SessionEvents(str(written), tuple(begins), tuple(ends), completing, are_declared=True)

    def metrics_argument(self, name: str, *, key: str, description: str = "") -> None:
        """Declares an argument of the field with the feature's metrics, which selects the events to measure.

        The argument takes a list, and selects events whose payload has one of its values. The argument `not` takes the
        same arguments, and leaves out the events that they select.

        Args:
            name: name of the argument in GraphQL.
            key: payload key of the values, or keys joined by dots.

        Raises:
            DefinitionError: the name is not a GraphQL name, or the feature already has an argument of that name.
        """
        try:
            argument = declared_argument(name, key, description)
        except ValueError as error:
            raise DefinitionError(f"{self.file}: {error}") from error
        if name in self.metrics_arguments:
            raise DefinitionError(f"{self.file}: metrics argument {name!r} is declared twice")
        self.metrics_arguments[name] = argument

    def metrics_beside(self, **metrics: str) -> None:
        """Declares fields of `AiMetrics` and `AiUserMetrics` that answer metrics of the feature under a name of theirs.

        A metric that counts users is a field of `AiMetrics` only.

            feature.metrics_beside(codeSuggestionsShownCount="shownCount")

        Args:
            metrics: names of the feature's metrics, built-in ones included, by the name of the field.

        Raises:
            DefinitionError: the feature already has such a field.
        """
        for field, metric in metrics.items():
            if field in self.metrics_beside_feature:
                raise DefinitionError(f"{self.file}: the metric {field!r} beside the feature is declared twice")
            self.metrics_beside_feature[field] = metric

    def session_metrics(self, field: str, *, by: str, users_field: str | None = None) -> None:
        """Declares a field of the feature's metrics with figures of its sessions: how many, whose, completed, how long.

        Args:
            field: name of the field, which answers the figures of each group of sessions.
            by: payload key of the texts that sessions are grouped by, or keys joined by dots.
            users_field: name of a further field, which counts the sessions of each user and group.

        Raises:
            DefinitionError: a name is not a GraphQL field name, or session metrics are declared twice.
        """
        declared = SessionMetrics(by, field, users_field)
        if self.session_metrics_declared is not None:
            raise DefinitionError(f"{self.file}: session metrics are declared twice")
        for name in declared.fields:
            if not is_field_name(name):
                message = f"session metrics {name!r} is not a name that GraphQL allows, beginning in lower case"
                raise DefinitionError(f"{self.file}: {message}")
        self.session_metrics_declared = declared

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
