"""`aiSessions`: sessions in groups, how many are completed or abandoned, and how long they take."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info, RequestContext, Usernames, UserNode
from functions.graphql.query.aggregation import Dimension
from functions.graphql.query.days import FIRST_DAY, LAST_DAY
from functions.graphql.query.metric_fields import path_of
from functions.graphql.query.selection import Selection
from functions.graphql.query.sessions import MEASURES, SessionFeature, Sessions, keys_of
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.quantiles import seconds
from functions.graphql.types.sdl import FILTERS, field_of_both
from functions.graphql.types.usage import MAX_GROUP_PATHS
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import value_type
from functions.shared.catalog.registry import Registry

_ABOUT = """\
Sessions of {where}, in groups; those of the most sessions come first. A session has the events of one feature in one
namespace that have one value at the feature's session key. The first event that begins it decides everything: which
filters select the session, also by day, and which group it is in. What ends it may come later than `endDate`.\
"""
_ARGUMENTS = f"""\
    "What the sessions of a group have in common; all are one group where nothing is given."
    groupBy: [AiUsageDimension!]
    "Paths into the payload of the first event: the sessions of a group have the same values there."
    payloadGroupBy: [String!]
{FILTERS}    "How many groups to return: 100 where it is not given, at most 1,000."
    first: Int
"""

TEXT = f"""
"The sessions of one group, measured. What they were not grouped by is null."
type AiSessions {{
  "The feature of the group's sessions."
  feature: AiUsageFeature
  "The name of the event that begins the group's sessions."
  event: AiUsageEventType
  "The user who began the group's sessions."
  user: User
  "Null for sessions without a namespace, too."
  namespacePath: String
  "Null for sessions without a project, too."
  projectId: Long
  "The day on which the sessions began."
  day: Date
  "The Monday of the week in which the sessions began."
  week: Date
  "The first day of the month in which the sessions began."
  month: Date
  "The values at the paths of `payloadGroupBy`: null where there is none, or an array or object."
  payload: JSON!
  "How many sessions the group has."
  sessionsCount: Long!
  "How many users began them."
  usersCount: Long!
  "How many of them have an event that completes a session."
  completedCount: Long!
  "`completedCount` divided by `sessionsCount`; null without a session."
  completionRate: Float
  "How many of them have ended, but were not completed. A session that has not ended is neither."
  abandonedCount: Long!
  "`abandonedCount` divided by `sessionsCount`; null without a session."
  abandonmentRate: Float
  "How many of them have not ended yet."
  openCount: Long!
  "`openCount` divided by `sessionsCount`; null without a session."
  openRate: Float
  "The median of the seconds from the beginning to the last end; null where no session has ended."
  medianDuration: Float
  "The 95th percentile of the seconds from the beginning to the last end; null where no session has ended."
  p95Duration: Float
}}

{field_of_both("Sessions", _ABOUT, _ARGUMENTS, "[AiSessions!]!")}"""

_ATTRIBUTES = {Dimension.NAMESPACE: "namespace_path", Dimension.PROJECT: "project_id"}


class SessionGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `aiSessions`."""

    feature: str | None = None
    event: int | None = None
    user: UserNode | None = None
    namespace_path: str | None = None
    project_id: int | None = None
    day: date | None = None
    week: date | None = None
    month: date | None = None
    payload: Mapping[str, Any]
    sessions_count: int = 0
    users_count: int = 0
    completed_count: int = 0
    abandoned_count: int = 0
    open_count: int = 0
    median_duration: float | None = None
    p_95_duration: float | None = None

    @property
    def completion_rate(self) -> float | None:
        """The share of the sessions that are completed; None without any."""
        return self.completed_count / self.sessions_count if self.sessions_count else None

    @property
    def abandonment_rate(self) -> float | None:
        """The share of the sessions that are abandoned; None without any."""
        return self.abandoned_count / self.sessions_count if self.sessions_count else None

    @property
    def open_rate(self) -> float | None:
        """The share of the sessions that have not ended; None without any."""
        return self.open_count / self.sessions_count if self.sessions_count else None


def resolve_sessions(
    coverage: Coverage,
    info: Info,
    group_by: Sequence[Dimension] | None = None,
    payload_group_by: Sequence[str] | None = None,
    first: int | None = None,
    **filters: Any,
) -> list[SessionGroup]:
    """Resolves `aiSessions`."""
    context = info.context
    size = arguments.size("first", first)
    context.budget.take(size)
    texts = tuple(dict.fromkeys(payload_group_by or ()))
    matched = select(coverage, context.registry, context.today, filters)
    features = tuple(_session_features(context.registry, matched))
    question = Sessions(
        covered=covered_sessions(coverage, context, features),
        matched=matched,
        features=features,
        dimensions=tuple(dict.fromkeys(group_by or ())),
        paths=arguments.paths("payloadGroupBy", texts, MAX_GROUP_PATHS),
        limit=size,
    )
    if size == 0:
        return []
    rows = context.events.people(question)
    if not rows and not question.dimensions and not texts:
        return [SessionGroup(payload={})]
    return _groups(question, rows, texts, context)


def _groups(
    question: Sessions, rows: Sequence[Sequence[Any]], texts: Sequence[str], context: RequestContext
) -> list[SessionGroup]:
    found = [keys_of(question, row) for row in rows]
    by_dimension = [dict(zip(question.dimensions, keys, strict=True)) for keys, _ in found]
    users = Usernames((keys[Dimension.USER] for keys in by_dimension if Dimension.USER in keys), context.directory)
    groups = []
    for keys, (_, at_paths), row in zip(by_dimension, found, rows, strict=True):
        shown: dict[str, Any] = {_ATTRIBUTES.get(dimension, dimension.value): key for dimension, key in keys.items()}
        if Dimension.USER in keys:
            shown["user"] = UserNode(keys[Dimension.USER], users)
        sessions, of_users, completed, abandoned, ended, median, p95 = row[-MEASURES:]
        groups.append(
            SessionGroup(
                **shown,
                payload=dict(zip(texts, at_paths, strict=True)),
                sessions_count=sessions,
                users_count=of_users,
                completed_count=completed,
                abandoned_count=abandoned,
                open_count=sessions - ended,
                median_duration=seconds(median),
                p_95_duration=seconds(p95),
            )
        )
    return groups


def covered_sessions(coverage: Coverage, context: RequestContext, features: Sequence[SessionFeature]) -> Selection:
    """All events of sessions that the coverage includes, of all days."""
    always = {"start_date": FIRST_DAY, "end_date": LAST_DAY}
    ids = tuple(dict.fromkeys(one for feature in features for one in (*feature.begins, *feature.ends)))
    covered = select(coverage, context.registry, context.today, always)
    return msgspec.structs.replace(covered, event_ids=ids)


def _session_features(registry: Registry, matched: Selection) -> Iterator[SessionFeature]:
    """The sessions of the features that have an event which may begin a selected session."""
    for feature in registry.features.values():
        if feature.session_events is not None:
            sessions = session_feature(feature)
            if not set(sessions.begins).isdisjoint(matched.event_ids):
                yield sessions


def session_feature(feature: Feature) -> SessionFeature:
    """The sessions of a feature that declares some.

    Raises:
        ValueError: the feature declares none.
    """
    declared = feature.session_events
    if declared is None:
        raise ValueError(f"{feature.name} declares no sessions")
    incomplete = [name for name in declared.ends if name not in declared.completes]
    return SessionFeature(
        feature.name,
        path_of(declared.key),
        int if value_type(feature.payload_types, declared.key) is int else str,
        begins=feature.ids_of(declared.begins),
        ends=feature.ids_of(declared.ends),
        completes=feature.ids_of(declared.completes) if declared.completes else (),
        abandons=feature.ids_of(incomplete) if incomplete else (),
    )
