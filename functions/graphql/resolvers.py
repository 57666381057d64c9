"""What resolves the schema's fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from ariadne import InterfaceType, ObjectType, QueryType
from graphql import GraphQLResolveInfo

from functions.graphql import arguments
from functions.graphql.event_query import Directory, EventQuery, EventStore
from functions.graphql.limits import Deadline, NodeBudget
from functions.graphql.page import Node, Page, page_of
from functions.graphql.source import Source, Sources
from functions.shared.grant import Grant, is_traversal_path
from functions.shared.registry import Registry


@dataclass(slots=True)
class Reading:
    """What a request reads with: the context of its resolvers.

    Attributes:
        source: where its events come from, once one was asked for.
        deadline: when the whole query must be answered.
        nodes: how many more nodes it may ask for.
    """

    grant: Grant
    registry: Registry
    sources: Sources
    directory: Directory
    source: Source | None = None
    deadline: Deadline = field(default_factory=Deadline)
    nodes: NodeBudget = field(default_factory=NodeBudget)

    @property
    def events(self) -> EventStore:
        """Where events are read from: one store for the whole request."""
        self.source = self.source or self.sources.current()
        return self.source.events


type Info = GraphQLResolveInfo[Reading]


@dataclass(frozen=True, slots=True)
class UsageData:
    """The events within some namespaces; None for everything."""

    namespaces: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that may be read."""

    path: str
    full_path: str

    @property
    def ai_usage_data(self) -> UsageData:
        """The events of the namespace and of all below it."""
        return UsageData((self.path,))


query_type = QueryType()
usage_data_type = ObjectType("AiUsageData")


@query_type.field("namespace")
@query_type.field("group")
@query_type.field("project")
def resolve_namespace(_: None, info: Info, full_path: str) -> Namespace | None:
    """The namespace at a path, where there is one that the token may read."""
    reading = info.context
    if "\0" in full_path:
        return None  # PostgreSQL has no text with such a character
    path = full_path if is_traversal_path(full_path) else reading.directory.path_of(full_path)
    if path is None or not reading.grant.covers(path):
        return None
    if path == full_path:
        full_path = reading.directory.full_path_of(path) or path
    return Namespace(path, full_path)


@query_type.field("aiInstanceUsageData")
def resolve_instance_usage_data(_: None, info: Info) -> UsageData:
    """The events of everything that the token may read."""
    grant = info.context.grant
    return UsageData(None if grant.is_everywhere else grant.namespaces)


@usage_data_type.field("all")
def resolve_all(
    data: UsageData,
    info: Info,
    start_date: date | None = None,
    end_date: date | None = None,
    events: Sequence[int] | None = None,
    user_ids: Sequence[str] | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Page:
    """A page of the events of all features."""
    reading = info.context
    start, end = arguments.period(start_date, end_date, datetime.now(UTC).date())
    size = arguments.page_size(first)
    query = EventQuery(
        namespaces=data.namespaces,
        start=start,
        end=end,
        event_ids=tuple(reading.registry.by_id if events is None else events),
        user_ids=arguments.users(user_ids),
        after=arguments.position(after),
        limit=size + 1,
    )
    return page_of(reading.events.events(query), size, query, reading.directory)


def event_interface(registry: Registry) -> InterfaceType:
    """Tells of which type an event is: that of its feature."""
    type_names = {event.id: event.feature.type_name for event in registry.events.values()}

    def type_of(node: Node, *_: object) -> str:
        return type_names[node.event]

    return InterfaceType("AiUsageEvent", type_of)


RESOLVERS = (query_type, usage_data_type)
