"""Fields of a feature's metrics about its sessions: figures of each group, and sessions counted by user and group."""

from collections.abc import Iterator
from typing import Any

import msgspec
from ariadne import ObjectType, SchemaBindable

from functions.graphql.context import Info, Usernames, UserNode
from functions.graphql.query.aggregation import Dimension, GroupPosition
from functions.graphql.query.cut_text import cut, cut_at
from functions.graphql.query.metric_fields import path_of
from functions.graphql.query.sessions import MEASURES, Sessions, keys_of
from functions.graphql.types import arguments
from functions.graphql.types.connection import ConnectionPage
from functions.graphql.types.cursor import MALFORMED, from_row_cursor, to_row_cursor
from functions.graphql.types.measured import TotalValues, UserMetricValues
from functions.graphql.types.quantiles import seconds
from functions.graphql.types.sdl import PAGE, connection, description
from functions.graphql.types.sessions import covered_sessions, session_feature
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import camel_case
from functions.shared.catalog.session_metrics import SessionMetrics

MAX_GROUPS = 1000
_NODES_OF_A_STATEMENT = 10  # each user on a page has a statement of its own
_PERCENT = 100

# Values of a cursor: the number of sessions, the user's id, and the sort keys of the value at the path.
_SHAPE = b"groups of sessions by user"
_TYPES = (int, int, int, float, str, str)


class GroupNode(msgspec.Struct, frozen=True):
    """A group of sessions in the schema.

    Attributes:
        group: the text that the sessions are grouped by; None without one.
        position: where the group is among all.
        median_execution_time: seconds; None if no session has ended.
    """

    group: str | None
    user: UserNode | None
    sessions_count: int
    users_count: int
    completed_count: int
    median_execution_time: float | None
    position: GroupPosition

    @property
    def completion_rate(self) -> float:
        """How many of a hundred sessions are completed."""
        return _PERCENT * self.completed_count / self.sessions_count


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
        return _groups(measured, _question(feature, declared, measured, (), MAX_GROUPS))

    return resolve


def _users_resolver(feature: Feature, declared: SessionMetrics) -> Any:
    def resolve(measured: TotalValues | UserMetricValues, info: Info, **given: Any) -> ConnectionPage[GroupNode]:
        page_request = arguments.page_request(given)
        beyond = page_request.position(_from_cursor)
        info.context.budget.take(page_request.size)
        question = msgspec.structs.replace(
            _question(feature, declared, measured, (Dimension.USER,), 0),
            beyond=beyond,
            backwards=page_request.backwards,
        )

        def read(limit: int) -> list[GroupNode]:
            found = _groups(measured, msgspec.structs.replace(question, limit=limit))
            return found[::-1] if page_request.backwards else found

        def count() -> int:
            rows = measured.events.context.events.people(msgspec.structs.replace(question, only_count=True))
            return int(rows[0][0]) if rows else 0

        return ConnectionPage(page_request, read, lambda node: _to_cursor(node.position), count)

    return resolve


def _question(
    feature: Feature,
    declared: SessionMetrics,
    measured: TotalValues | UserMetricValues,
    dimensions: tuple[Dimension, ...],
    limit: int,
) -> Sessions:
    events, sessions = measured.events, session_feature(feature)
    return Sessions(
        covered=covered_sessions(events.coverage, events.context, [sessions]),
        matched=measured.selection,
        features=(sessions,),
        dimensions=dimensions,
        paths=(path_of(declared.by),),
        limit=limit,
    )


def _groups(measured: TotalValues | UserMetricValues, question: Sessions) -> list[GroupNode]:
    """The groups of sessions, in the question's order."""
    context = measured.events.context
    rows = context.events.people(question)
    keys = [keys_of(question, row) for row in rows]
    users = Usernames((user_id for of_dimensions, _ in keys for user_id in of_dimensions), context.directory)
    groups = []
    for (of_dimensions, (group,)), row in zip(keys, rows, strict=True):
        count, of_users, completed, _, _, median, _ = row[-MEASURES:]
        user = UserNode(of_dimensions[0], users) if of_dimensions else None
        *columns, written = row[:-MEASURES]
        position = GroupPosition((count,), (*columns, *cut(written, cut_at(question.paths))))
        text = group if isinstance(group, str) else None
        groups.append(GroupNode(text, user, count, of_users, completed, seconds(median), position))
    return groups


def _to_cursor(position: GroupPosition) -> str:
    return to_row_cursor(_SHAPE, (*position.ordered, *position.keys))


def _from_cursor(cursor: str) -> GroupPosition:
    count, *keys = from_row_cursor(_SHAPE, _TYPES, cursor)
    if None in (count, *keys):
        raise ValueError(MALFORMED)
    return GroupPosition((count,), tuple(keys))
