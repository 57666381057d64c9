"""Fields of a feature's metrics about its sessions: figures of each group, and sessions counted by user and group."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from ariadne import ObjectType, SchemaBindable

from functions.graphql.context import Info, Usernames, UserNode
from functions.graphql.query.aggregation import Dimension
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.metric_fields import path_of
from functions.graphql.query.sessions import MEASURES, Sessions, keys_of
from functions.graphql.types import arguments
from functions.graphql.types.connection import ConnectionPage
from functions.graphql.types.cursor import MALFORMED, from_text, to_text
from functions.graphql.types.measured import TotalValues, UserMetricValues
from functions.graphql.types.quantiles import seconds
from functions.graphql.types.sdl import PAGE, connection, description
from functions.graphql.types.sessions import covered_sessions, session_feature
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import camel_case
from functions.shared.catalog.session_metrics import SessionMetrics

MAX_GROUPS = 1000
MAX_USER_GROUPS = 50_000
_NODES_OF_A_STATEMENT = 10  # each user on a page has a statement of its own
_PERCENT = 100


class GroupPosition(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Position of a user's group of sessions: most sessions first, then by user, then by group."""

    fewer_sessions: int
    user_id: int
    group: str


class GroupNode(msgspec.Struct, frozen=True):
    """A group of sessions in the schema.

    Attributes:
        group: the text that the sessions are grouped by; None without one.
        median_execution_time: seconds; None if no session has ended.
    """

    group: str | None
    user: UserNode | None
    sessions_count: int
    users_count: int
    completed_count: int
    median_execution_time: float | None

    @property
    def completion_rate(self) -> float:
        """How many of a hundred sessions are completed."""
        return _PERCENT * self.completed_count / self.sessions_count

    @property
    def position(self) -> GroupPosition:
        """Where the group is among all."""
        return GroupPosition(-self.sessions_count, self.user.id if self.user else 0, self.group or "")


def session_types_text(feature: Feature) -> str:
    """The schema text of the types of the fields about sessions; empty if the feature declares none."""
    declared = feature.session_metrics_declared
    if declared is None:
        return ""
    key = camel_case(declared.by.rpartition(".")[2])
    group = f"{description(f'The `{declared.by}` of the sessions; null where they have none.')}{key}: String\n"
    count = f"{description('How many sessions there were.')}sessionsCount: Long!\n"
    figures = (
        f"{description('How many users had them.')}usersCount: Long!\n"
        f"{description('Median seconds from the beginning to the last end; null where no session has ended.')}"
        "medianExecutionTime: Float\n"
        f"{description('How many of a hundred sessions were completed.')}completionRate: Float\n"
    )
    about = description(f"Sessions of {feature.name}, by `{declared.by}`.")
    text = f"{about}type {feature.sessions_type_name} {{\n{group}{count}{figures}}}\n"
    if declared.users_field is not None:
        user = f"{description('Who had them.')}user: User!\n"
        about = description(f"Sessions of one user of {feature.name}, by `{declared.by}`.")
        name = feature.user_sessions_type_name
        text += f"{about}type {name} {{\n{group}{count}{user}}}\n{connection(name, 'groups of sessions')}"
    return text


def session_fields_text(feature: Feature) -> str:
    """The schema text of the fields about sessions; empty if the feature declares none."""
    declared = feature.session_metrics_declared
    if declared is None:
        return ""
    about = description(f"Sessions by `{declared.by}`, the most first: those that began in the period.")
    text = f"{about}{declared.field}: [{feature.sessions_type_name}!]!\n"
    if declared.users_field is not None:
        about = description(f"Sessions by user and `{declared.by}`, the most first.")
        text += f"{about}{declared.users_field}(\n{PAGE}): {feature.user_sessions_type_name}Connection!\n"
    return text


def session_bindables(feature: Feature, metrics_type: ObjectType) -> Iterator[SchemaBindable]:
    """The resolvers of these types; adds those of the fields to the type of the feature's metrics."""
    declared = feature.session_metrics_declared
    if declared is None:
        return
    names = [feature.sessions_type_name]
    metrics_type.set_field(declared.field, _groups_resolver(feature, declared))
    if declared.users_field is not None:
        names.append(feature.user_sessions_type_name)
        metrics_type.set_field(declared.users_field, _users_resolver(feature, declared))
    for name in names:
        group_type = ObjectType(name)
        group_type.set_field(camel_case(declared.by.rpartition(".")[2]), lambda node, _: node.group)
        yield group_type


def _groups_resolver(feature: Feature, declared: SessionMetrics) -> Any:
    def resolve(measured: TotalValues | UserMetricValues, info: Info) -> list[GroupNode]:
        info.context.budget.take(_NODES_OF_A_STATEMENT)
        return _groups(feature, declared, measured, (), MAX_GROUPS)

    return resolve


def _users_resolver(feature: Feature, declared: SessionMetrics) -> Any:
    def resolve(measured: TotalValues | UserMetricValues, info: Info, **given: Any) -> ConnectionPage[GroupNode]:
        page_request = arguments.page_request(given)
        beyond = page_request.position(_from_cursor)
        info.context.budget.take(page_request.size)

        @cache
        def groups() -> list[GroupNode]:
            found = _groups(feature, declared, measured, (Dimension.USER,), MAX_USER_GROUPS)
            if len(found) == MAX_USER_GROUPS:
                raise InvalidArgument(
                    f"{declared.users_field} has {MAX_USER_GROUPS:,} groups or more: ask for fewer days."
                )
            return found

        def read(limit: int) -> list[GroupNode]:
            if page_request.backwards:
                before = [group for group in groups() if beyond is None or group.position < beyond]
                return before[max(0, len(before) - limit) :]
            return [group for group in groups() if beyond is None or group.position > beyond][:limit]

        return ConnectionPage(page_request, read, lambda node: _to_cursor(node.position), lambda: len(groups()))

    return resolve


def _groups(
    feature: Feature,
    declared: SessionMetrics,
    measured: TotalValues | UserMetricValues,
    dimensions: tuple[Dimension, ...],
    limit: int,
) -> list[GroupNode]:
    """The groups of sessions, in the order of their positions."""
    events, sessions = measured.events, session_feature(feature)
    question = Sessions(
        covered=covered_sessions(events.coverage, events.context, [sessions]),
        matched=measured.selection,
        features=(sessions,),
        dimensions=dimensions,
        paths=(path_of(declared.by),),
        limit=limit,
    )
    rows = events.context.events.people(question)
    keys = [keys_of(question, row) for row in rows]
    users = Usernames((user_id for of_dimensions, _ in keys for user_id in of_dimensions), events.context.directory)
    groups = []
    for (of_dimensions, (group,)), row in zip(keys, rows, strict=True):
        count, of_users, completed, _, median, _ = row[-MEASURES:]
        user = UserNode(of_dimensions[0], users) if of_dimensions else None
        text = group if isinstance(group, str) else None
        groups.append(GroupNode(text, user, count, of_users, completed, seconds(median)))
    return sorted(groups, key=lambda group: group.position)


def _to_cursor(position: GroupPosition) -> str:
    return to_text(msgspec.json.encode(position))


def _from_cursor(cursor: str) -> GroupPosition:
    content = from_text(cursor)
    try:
        return msgspec.json.decode(content, type=GroupPosition)
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(MALFORMED) from error
