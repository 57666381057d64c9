"""What a request reads with: the context of its resolvers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from graphql import GraphQLResolveInfo

from functions.graphql.query.budget import Deadline, NodeBudget
from functions.graphql.query.store import DirectoryReader, EventStore
from functions.graphql.store_router import Source, Sources
from functions.shared.catalog.registry import Registry
from functions.shared.grant import Grant


@dataclass(slots=True)
class RequestContext:
    """What a request reads with.

    Attributes:
        today: in UTC.
        source: where its events come from, once one was asked for.
    """

    grant: Grant
    registry: Registry
    sources: Sources
    directory: DirectoryReader
    today: date
    budget: NodeBudget = field(default_factory=NodeBudget)
    deadline: Deadline = field(default_factory=Deadline)
    source: Source | None = None

    @property
    def events(self) -> EventStore:
        """Where events are read from: one store for the whole request."""
        self.source = self.source or self.sources.current(self.grant, self.deadline)
        return self.source.events


type Info = GraphQLResolveInfo[RequestContext]


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespaces that a field is about; None for everything, events without one included.

    It is what `AiUsageData` and the metrics are resolved from.
    """

    namespaces: tuple[str, ...] | None


class Usernames:
    """Usernames on a page: their names are read at once, and only when one is asked for."""

    def __init__(self, user_ids: Iterable[int], directory: DirectoryReader) -> None:
        self._user_ids = set(user_ids)
        self._directory = directory
        self._names: dict[int, str] | None = None

    def username_of(self, user_id: int) -> str | None:
        """The user's name, if one is known."""
        if self._names is None:
            self._names = self._directory.usernames(self._user_ids)
        return self._names.get(user_id)


@dataclass(frozen=True, slots=True)
class UserNode:
    """A user on a page."""

    id: int
    usernames: Usernames

    @property
    def username(self) -> str | None:
        """The name, if one is known."""
        return self.usernames.username_of(self.id)
