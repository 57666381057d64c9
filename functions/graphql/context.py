"""`RequestContext`: the context of the resolvers of one request, and nodes that several types share."""

from collections.abc import Iterable, Mapping
from datetime import date

import msgspec
from graphql import GraphQLError, GraphQLResolveInfo
from graphql.pyutils import Path

from functions.graphql.global_id import USER, GlobalId
from functions.graphql.plan_cache import PlanCache
from functions.graphql.query.budget import ByteBudget, Deadline, NodeBudget
from functions.graphql.query.reads import MeasuredEvents, Reads
from functions.graphql.query.store import DirectoryReader, EventStore
from functions.graphql.store_router import Source, StoreRouter
from functions.shared.catalog.registry import Registry
from functions.shared.grant import Grant


class RequestContext(msgspec.Struct):
    """The context of the resolvers of one request.

    Attributes:
        today: the present day, in UTC.
        source: the store that the request reads events from; None before the first read.
        plans: plans of the query's document.
        answer_bytes: bytes of long texts and made lists so far.
        web_base_url: what addresses on the web begin with, without a slash at the end; None if unknown.
        last_days: the day of each user's last event, of the users on a page, by the ids of all of them.
        made_lists: lists, as JSON, that belong at these paths of the answer, where the executor's lists are empty.
        errors: errors within the made lists.
        reads: how long the reads of events took.
    """

    grant: Grant
    registry: Registry
    stores: StoreRouter
    directory: DirectoryReader
    today: date
    budget: NodeBudget = msgspec.field(default_factory=NodeBudget)
    answer_bytes: ByteBudget = msgspec.field(default_factory=ByteBudget)
    deadline: Deadline = msgspec.field(default_factory=Deadline)
    source: Source | None = None
    plans: PlanCache = msgspec.field(default_factory=PlanCache)
    web_base_url: str | None = None
    last_days: dict[tuple[int, ...], Mapping[int, date]] = msgspec.field(default_factory=dict)
    made_lists: list[tuple[Path, msgspec.Raw]] = msgspec.field(default_factory=list)
    errors: list[GraphQLError] = msgspec.field(default_factory=list)
    reads: Reads = msgspec.field(default_factory=Reads)

    @property
    def events(self) -> EventStore:
        """The store of events, the same for the whole request."""
        if self.source is None:
            source = self.stores.current(self.grant, self.deadline)
            self.source = Source(source.name, MeasuredEvents(source.events, self.reads))
            self.reads.source = source.name
        return self.source.events

    @property
    def readable(self) -> "Coverage":
        """Everything that the token may read."""
        # Own events lie anywhere: the store finds no others then, see `OwnEvents`.
        return Coverage(None if self.grant.is_everywhere or self.grant.reads_own_only else self.grant.namespaces)


type Info = GraphQLResolveInfo[RequestContext]


class Coverage(msgspec.Struct, frozen=True):
    """The events that a field covers. The source value of `AiUsageData` and the metrics.

    Attributes:
        namespaces: traversal paths; None for all events, those without a namespace included.
        project_id: covers only events of this project.
    """

    namespaces: tuple[str, ...] | None
    project_id: int | None = None


class Usernames:
    """Usernames of the users on a page, read all at once when the first is needed."""

    def __init__(self, user_ids: Iterable[int], directory: DirectoryReader) -> None:
        self.user_ids = frozenset(user_ids)
        self._directory = directory
        self._names: dict[int, str] | None = None

    def username_of(self, user_id: int) -> str | None:
        """The username, if known."""
        if self._names is None:
            self._names = self._directory.usernames(set(self.user_ids))
        return self._names.get(user_id)


class UserNode(msgspec.Struct, frozen=True):
    """A user on a page."""

    id: int
    usernames: Usernames

    @property
    def node_id(self) -> str:
        """The global id."""
        return str(GlobalId(USER, str(self.id)))

    @property
    def username(self) -> str | None:
        """The username, if known."""
        return self.usernames.username_of(self.id)
