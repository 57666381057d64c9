"""`PostgresStore`: reads events from PostgreSQL."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from functions.graphql.postgres.aggregation import read_aggregation
from functions.graphql.postgres.page_sql import (
    BACKWARDS,
    BY_PATH,
    BY_PROJECT,
    BY_TIME,
    BY_USER,
    FORWARDS,
    SOME_PATHS,
    Source,
    columns,
    page_statement,
)
from functions.graphql.postgres.path_counts import PathCounts, Paths
from functions.graphql.postgres.people import read_people
from functions.graphql.postgres.sessions import read_sessions
from functions.graphql.postgres.where import (
    event_conditions,
    month_of,
    namespace_conditions,
    project_conditions,
    user_conditions,
    where_condition,
)
from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.budget import Deadline
from functions.graphql.query.errors import QueryTooSlow, StoreUnavailable
from functions.graphql.query.page_bytes import may_be_too_large, within_limit
from functions.graphql.query.people import Question
from functions.graphql.query.selection import Selection
from functions.graphql.query.sessions import Sessions
from functions.graphql.query.slots import Slots, SlottedConnection
from functions.graphql.query.store import EventRow, PageWindow, RequestedFields
from functions.shared.grant import Grant
from functions.shared.role_settings import GRAPHQL_LIMITS
from functions.shared.traversal_path import namespace_upper_bound

_TOLERANCE_SECONDS = 1
_LIMIT = "SELECT set_config('statement_timeout', %s, true)"

# With at most this many paths, a page reads each path's events in time order, and merges them. Events of more paths are
# frequent enough to be found quickly among all events in time order.
MAX_SEPARATE_PATHS = 40

# Likewise for users and projects.
MAX_SEPARATE_USERS = 40
MAX_SEPARATE_PROJECTS = 40

_MICROSECOND = timedelta(microseconds=1)

_COUNT = sql.SQL("SELECT count(*) FROM ai_usage_events AS events WHERE {conditions}")


class PostgresStore:
    """An `EventStore` on PostgreSQL.

    Args:
        grant: the reader's grant, which limits the usernames to see.
        path_counts: what earlier requests found out.
    """

    knows_usernames = True

    def __init__(self, slots: Slots, deadline: Deadline, grant: Grant, path_counts: PathCounts) -> None:
        self._slots = slots
        self._deadline = deadline
        self._grant = grant
        self._path_counts = path_counts

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[EventRow]:
        """See `EventStore.events`."""
        if selection.selects_nothing:
            return []
        found = self._read(selection, lambda connection: self._events(selection, window, requested, connection))
        return found[::-1] if window.backwards else found

    def count(self, selection: Selection) -> int:
        """See `EventStore.count`."""
        if selection.selects_nothing:
            return 0
        values: dict[str, Any] = {}
        statement = _COUNT.format(conditions=where_condition(selection, values))
        rows = self._read(selection, lambda connection: connection.execute(statement, values, prepare=False).fetchall())
        return int(rows[0][0])

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """See `EventStore.aggregate`."""
        return self._read(aggregation.selection, lambda connection: read_aggregation(aggregation, connection))

    def people(self, question: Question | Sessions) -> list[tuple[Any, ...]]:
        """See `EventStore.people`."""
        if question.selects_nothing:
            return []
        if isinstance(question, Sessions):
            return self._read(question.selection, lambda connection: read_sessions(question, connection))
        return self._read(question.selection, lambda connection: read_people(question, connection))

    def _read[Result](self, selection: Selection, work: Callable[[SlottedConnection], Result]) -> Result:
        def limited(slotted: SlottedConnection) -> Result:
            seconds = self._deadline.remaining()
            if seconds > GRAPHQL_LIMITS.statement - _TOLERANCE_SECONDS:
                return work(slotted)  # the connection's own limit is close enough
            with slotted.connection.transaction():
                slotted.connection.execute(_LIMIT, [f"{seconds:.3f}s"])
                return work(slotted)

        try:
            return self._slots.read(limited)
        except psycopg.errors.QueryCanceled as error:
            raise QueryTooSlow(selection.days) from error
        except psycopg.OperationalError as error:
            raise StoreUnavailable from error

    def _events(
        self, selection: Selection, window: PageWindow, requested: RequestedFields, connection: SlottedConnection
    ) -> list[EventRow]:
        selected = columns(requested)
        values = {**selected.values, "limit": window.limit, "granted": list(self._grant.namespaces)}
        conditions = event_conditions(selection, values)
        direction = BACKWARDS if window.backwards else FORWARDS
        if window.beyond is not None:
            # Narrows the period, so that PostgreSQL skips the partitions before the position.
            if window.backwards:
                values["start"] = max(selection.start, window.beyond.timestamp)
            else:
                values["end"] = min(selection.end, window.beyond.timestamp + _MICROSECOND)
            values |= {"timestamp": window.beyond.timestamp, "id": window.beyond.id}
            conditions.append(direction.is_beyond)
        source, further_conditions = self._source(selection, values, connection)
        statement = page_statement(
            selected.text,
            source,
            tuple(condition.as_string() for condition in conditions + further_conditions),
            direction.order,
            usernames=requested.usernames,
            everywhere=self._grant.sees_every_name,
        )
        # Among all events the best plan depends on the values. The others have one plan, by their index, and making it
        # takes PostgreSQL as long as carrying it out.
        if may_be_too_large(window.limit, requested):
            with closing(connection.stream(statement, values)) as rows:
                return within_limit(rows)
        return connection.execute(statement, values, prepare=source is not BY_TIME).fetchall()

    def _source(
        self, selection: Selection, values: dict[str, Any], connection: SlottedConnection
    ) -> tuple[Source, list[sql.Composable]]:
        """The source in which the fewest events are read, and its conditions on users, projects and namespaces.

        A source by users, projects or paths needs no condition on these.
        """
        of_users, of_projects = user_conditions(selection, values), project_conditions(selection, values)
        if _are_few(selection.user_ids, MAX_SEPARATE_USERS):
            return BY_USER, of_projects + namespace_conditions(selection, values)
        if _are_few(selection.project_ids, MAX_SEPARATE_PROJECTS):
            return BY_PROJECT, of_users + namespace_conditions(selection, values)
        if selection.namespaces is not None and self._has_few_paths(selection.namespaces, values, connection):
            return BY_PATH, of_users + of_projects
        return BY_TIME, of_users + of_projects + namespace_conditions(selection, values)

    def _has_few_paths(
        self, namespaces: tuple[str, ...], values: dict[str, Any], connection: SlottedConnection
    ) -> bool:
        """Whether the events in the namespaces have few paths. Adds the bind parameters of the statements of paths."""
        paths = Paths(namespaces, month_of(values["start"]), values["end"])
        values |= {
            "lows": list(namespaces),
            "highs": list(map(namespace_upper_bound, namespaces)),
            "first_month": paths.first_month,
            "paths_limit": MAX_SEPARATE_PATHS + 1,
        }
        few = self._path_counts.are_few(paths)
        if few is None:
            found = connection.execute(SOME_PATHS, values, prepare=False).fetchall()
            few = len(found) <= MAX_SEPARATE_PATHS
            self._path_counts.remember(paths, few=few)
        return few


def _are_few(ids: Sequence[int] | None, limit: int) -> bool:
    return ids is not None and len(ids) <= limit
